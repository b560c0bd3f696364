//! A record: one line in the journal. In segments it carries a checksum:
//! the JSON, a TAB, the CRC-32C (RFC 3720) of the JSON in eight hex digits, a line feed.

/// How records stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Plain JSON Lines.
    Plain,
    /// JSON, TAB, checksum.
    Checksummed,
}

/// Bytes of TAB and checksum.
const SUFFIX_BYTES: usize = 9;

/// Records to be appended together, already framed.
#[derive(Debug)]
pub struct Batch {
    framing: Framing,
    bytes: Vec<u8>,
    records: Vec<(u128, usize)>,
    keeps_repeats: bool,
}

impl Batch {
    /// An empty batch, with room for that many bytes of records.
    pub fn new(framing: Framing, bytes: usize) -> Self {
        Self {
            framing,
            bytes: Vec::with_capacity(bytes),
            records: Vec::new(),
            keeps_repeats: false,
        }
    }

    /// Adds the record that `write` appends, which must contain no line feed, under the key that it
    /// returns.
    ///
    /// # Errors
    /// If `write` fails: then nothing was added.
    pub fn push<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<u128, E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let key = match write(&mut self.bytes) {
            Ok(key) => key,
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        };
        if self.framing == Framing::Checksummed {
            let checksum = crc32c::crc32c(&self.bytes[start..]);
            self.bytes.push(b'\t');
            self.bytes.extend_from_slice(&hex(checksum));
        }
        self.bytes.push(b'\n');
        self.records.push((key, self.bytes.len()));
        Ok(())
    }

    /// Makes the journal write records whose keys it has seen, too. For a store that knows repeats by
    /// itself, where what it refused before is to be delivered again.
    pub fn keep_repeats(&mut self) {
        self.keeps_repeats = true;
    }

    /// Whether records are written whose keys were seen before.
    pub(super) fn keeps_repeats(&self) -> bool {
        self.keeps_repeats
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The records as they stand in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each record's key and bytes.
    pub fn records(&self) -> impl Iterator<Item = (u128, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |&(key, end)| {
            let bytes = &self.bytes[start..end];
            start = end;
            (key, bytes)
        })
    }
}

/// Eight hex digits, by hand, since every record has them.
fn hex(number: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (28 - 4 * at) & 15) as usize])
}

/// The JSON of a checksummed record (without its line feed).
///
/// # Errors
/// If the checksum is missing or does not fit.
pub(super) fn verify(record: &[u8]) -> Result<&[u8], &'static str> {
    let (json, suffix) = record
        .len()
        .checked_sub(SUFFIX_BYTES)
        .and_then(|at| record.split_at_checked(at))
        .filter(|(_, suffix)| suffix[0] == b'\t')
        .ok_or("damaged: the checksum is missing")?;
    let expected =
        std::str::from_utf8(&suffix[1..]).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
    if expected == Some(crc32c::crc32c(json)) {
        Ok(json)
    } else {
        Err("damaged: the checksum does not fit")
    }
}
