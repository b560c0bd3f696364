//! What a JSON Lines file has beyond the place up to which the index has read it, in blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::files::{self, MARK_BYTES};
use super::lines::LINE_BYTES_MAX;
use super::rows::Rows;

/// Bytes of lines in one transaction; more only for a line that is longer.
const BLOCK_BYTES: usize = 4 << 20;

/// Blocks that are taken apart before they are wanted.
const BLOCKS_AHEAD: usize = 2;

/// The part of a file that is not in the index.
pub(super) struct Unread {
    pub(super) file: Arc<File>,
    pub(super) number: i64,
    pub(super) position: u64,
    pub(super) len: u64,
}

/// Some lines, taken apart.
pub(super) struct Block {
    pub(super) rows: Rows,
    /// The position after them, and what proves it.
    pub(super) end: u64,
    pub(super) mark: i64,
}

impl Unread {
    /// Calls with block after block until it returns false. Where there are many, a thread of its own takes
    /// apart what comes while what has come is dealt with.
    pub(super) fn each_block<E: From<io::Error>>(
        mut self,
        mut call: impl FnMut(Block) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut text = Vec::new();
        if self.len - self.position <= BLOCK_BYTES as u64 {
            while let Some(block) = self.next(&mut text)? {
                if !call(block)? {
                    break;
                }
            }
            return Ok(());
        }
        std::thread::scope(|scope| {
            let (sender, blocks) = std::sync::mpsc::sync_channel(BLOCKS_AHEAD);
            scope.spawn(move || {
                // The other end is gone when it wants no more.
                while let Some(block) = self.next(&mut text).transpose()
                    && sender.send(block).is_ok()
                {}
            });
            for block in blocks {
                if !call(block?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The next block, if there is another whole line.
    fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Block>> {
        match read_lines(&self.file, self.position, self.len, text) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // Cut since: whoever looks next finds out.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let end = self.position + text.len() as u64;
        let reaches_back = text.len() as u64 >= MARK_BYTES;
        let mark = if reaches_back { files::mark_of(text) } else { files::mark(&self.file, end)? };
        let rows = Rows::of(text, self.number, self.position);
        self.position = end;
        Ok(Some(Block { rows, end, mark }))
    }
}

/// Fills the block with whole lines from a position; false if there is no whole line.
fn read_lines(file: &File, position: u64, len: u64, block: &mut Vec<u8>) -> io::Result<bool> {
    let mut wanted = BLOCK_BYTES;
    loop {
        let there = (len - position).min(wanted as u64) as usize;
        block.resize(there, 0);
        file.read_exact_at(block, position)?;
        if let Some(end) = memchr::memrchr(b'\n', block) {
            block.truncate(end + 1);
            block.shrink_to(2 * BLOCK_BYTES);
            return Ok(true);
        }
        if there < wanted {
            return Ok(false);
        }
        if wanted >= LINE_BYTES_MAX {
            // What follows is the rest of no event, and is left out too.
            tracing::warn!(position, "a line of more than {LINE_BYTES_MAX} bytes is left out");
            return Ok(true);
        }
        wanted *= 2;
    }
}
