//! A `.keys` file: the keys of a closed segment's records, in their order, 16 bytes each and little
//! endian, and a CRC-32C of them.

use std::io;
use std::path::Path;

use crate::journal::file::write_whole;
use crate::journal::{KeyOf, record};

/// Stands for a record that has no key because it is damaged.
pub(in crate::journal) const NO_KEY: u128 = 0;

/// The keys of a segment's records.
pub(in crate::journal) fn scan(path: &Path, key_of: KeyOf) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(path)?;
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    Ok(lines.split(|&byte| byte == b'\n').map(|line| record_key(line, key_of)).collect())
}

/// The key of a framed record.
pub(in crate::journal) fn record_key(record: &[u8], key_of: KeyOf) -> u128 {
    record::verify(record).ok().and_then(key_of).unwrap_or(NO_KEY)
}

pub(in crate::journal) fn write(path: &Path, keys: &[u128]) -> io::Result<()> {
    let mut bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    write_whole(path, &bytes)
}

/// How many keys a `.keys` file has, by its length alone; `None` if it has none that make sense.
pub(in crate::journal) fn count(path: &Path) -> Option<usize> {
    let len = std::fs::metadata(path).ok()?.len();
    (len % 16 == 4).then_some(len as usize / 16)
}

/// The keys, if nothing is wrong with the file.
pub(in crate::journal) fn read(path: &Path) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(path)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checksum does not fit");
    let (keys, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(keys) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    Ok(keys.as_chunks::<16>().0.iter().map(|key| u128::from_le_bytes(*key)).collect())
}
