//! The `.keys` file of a closed segment: the keys of its records in order, 16 bytes each, little
//! endian, followed by a CRC-32C.

use std::io;
use std::path::Path;

use crate::journal::file::write_atomically;
use crate::journal::{KeyOf, record};

/// Stands for the key of a damaged record.
pub(crate) const NO_KEY: u128 = 0;

/// Reads the keys from the records of a segment.
pub(crate) fn scan(segment: &Path, key_of: KeyOf) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(segment)?;
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    Ok(lines.split(|&byte| byte == b'\n').map(|line| record_key(line, key_of)).collect())
}

/// The key of a framed record; [`NO_KEY`] if it is damaged.
pub(crate) fn record_key(record: &[u8], key_of: KeyOf) -> u128 {
    record::verify(record).ok().and_then(key_of).unwrap_or(NO_KEY)
}

/// Writes the file atomically and makes it durable.
pub(crate) fn write(path: &Path, keys: &[u128]) -> io::Result<()> {
    let mut bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    write_atomically(path, &bytes)
}

/// The number of keys according to the length of the file; `None` if there is no valid file.
pub(crate) fn count(path: &Path) -> Option<usize> {
    let len = std::fs::metadata(path).ok()?.len();
    (len % 16 == 4).then_some(len as usize / 16)
}

/// Reads the keys and checks them against the checksum.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(path)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match");
    let (keys, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(keys) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    Ok(keys.as_chunks::<16>().0.iter().map(|key| u128::from_le_bytes(*key)).collect())
}
