//! The part of a JSON Lines file that is not in the index, read in blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::files::{self, MARK_BYTES};
use super::lines::LINE_BYTES_MAX;
use super::rows::IndexRows;

/// Maximum bytes of lines in a block; a longer line makes a longer block.
const BLOCK_BYTES: usize = 4 << 20;

/// Number of blocks that are parsed ahead.
const BLOCKS_AHEAD: usize = 2;

/// The part of a file that is not in the index.
pub(super) struct Unread {
    pub(super) file: File,
    pub(super) number: i64,
    pub(super) position: u64,
    pub(super) len: u64,
}

/// Consecutive lines, parsed.
pub(super) struct Block {
    pub(super) rows: IndexRows,
    /// The position after the lines.
    pub(super) end: u64,
    /// A hash of the bytes before `end`; see [`files::mark`].
    pub(super) mark: i64,
}

impl Unread {
    /// Calls `call` with each block until it returns false. If there is more than one block, a second
    /// thread parses the next ones meanwhile.
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
                // Sending fails once `call` has returned false.
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

    /// Reads and parses the next block; `None` if there is no further whole line.
    fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Block>> {
        match read_lines(&self.file, self.position, self.len, text) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // Truncated meanwhile; the next pass will notice.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let end = self.position + text.len() as u64;
        let is_long_enough = text.len() as u64 >= MARK_BYTES;
        let mark =
            if is_long_enough { files::mark_of(text) } else { files::mark(&self.file, end)? };
        let rows = IndexRows::of(text, self.number, self.position);
        self.position = end;
        Ok(Some(Block { rows, end, mark }))
    }
}

/// Fills `block` with whole lines from a position; returns false if there is no whole line.
fn read_lines(file: &File, position: u64, len: u64, block: &mut Vec<u8>) -> io::Result<bool> {
    let mut wanted = BLOCK_BYTES;
    loop {
        let size = (len - position).min(wanted as u64) as usize;
        block.resize(size, 0);
        file.read_exact_at(block, position)?;
        if let Some(end) = memchr::memrchr(b'\n', block) {
            block.truncate(end + 1);
            block.shrink_to(2 * BLOCK_BYTES);
            return Ok(true);
        }
        if size < wanted {
            return Ok(false);
        }
        if wanted >= LINE_BYTES_MAX {
            // The rest of the line is not an event either.
            tracing::warn!(position, "ignoring a line of more than {LINE_BYTES_MAX} bytes");
            return Ok(true);
        }
        wanted *= 2;
    }
}
