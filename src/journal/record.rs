//! A record: one line of the journal. In segments it carries a checksum: JSON, TAB, the CRC-32C (RFC
//! 3720) of the JSON in eight hex digits, line feed.

/// The format of records in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// JSON, line feed.
    Plain,
    /// JSON, TAB, checksum, line feed.
    Checksummed,
}

/// Length of TAB and checksum.
const SUFFIX_BYTES: usize = 9;

/// Framed records that are appended together.
#[derive(Debug)]
pub struct Batch {
    framing: Framing,
    bytes: Vec<u8>,
    /// Key and end of each record in `bytes`.
    records: Vec<(u128, usize)>,
    keeps_duplicates: bool,
}

impl Batch {
    /// An empty batch with capacity for `bytes` bytes of records.
    pub fn new(framing: Framing, bytes: usize) -> Self {
        Self {
            framing,
            bytes: Vec::with_capacity(bytes),
            records: Vec::new(),
            keeps_duplicates: false,
        }
    }

    /// Adds the record that `write` appends, which must not contain a line feed, with the key that it
    /// returns.
    ///
    /// # Errors
    /// The error of `write`; the batch is then unchanged.
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

    /// Appends the records even if they are duplicates. For a store that detects duplicates itself, so
    /// that an event it rejected earlier can be delivered again.
    pub fn keep_duplicates(&mut self) {
        self.keeps_duplicates = true;
    }

    pub(super) fn keeps_duplicates(&self) -> bool {
        self.keeps_duplicates
    }

    /// Returns true if there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The framed records.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key and the framed bytes of each record.
    pub fn records(&self) -> impl Iterator<Item = (u128, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |&(key, end)| {
            let bytes = &self.bytes[start..end];
            start = end;
            (key, bytes)
        })
    }
}

/// Eight hex digits. Every record needs them, and the formatting machinery is several times slower.
fn hex(number: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (28 - 4 * at) & 15) as usize])
}

/// Returns the JSON of a checksummed record without its line feed.
///
/// # Errors
/// If the checksum is missing or does not match.
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
        Err("damaged: the checksum does not match")
    }
}
