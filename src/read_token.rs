//! The read token: a random secret that permits reading from a server without API keys. It is in a file
//! beside the events, and so known to everyone who may read the events anyway.
//!
//! The file is one line with a header, so that `curl -H @FILE` sends it.

use std::fmt::Write;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::journal::write_atomically;

const HEADER: &str = "Authorization: Bearer ";

/// Begins every token, so that it can be recognized.
const PREFIX: &str = "hooks_read_";

/// Random bytes of a token, written in hex.
const RANDOM_BYTES: usize = 32;

/// The token of a running server. Implements no `Debug`, so that it cannot reach a log.
pub(crate) struct ReadToken {
    secret: String,
    path: PathBuf,
    /// A shared lock on the file, by which clients recognize that the server is running.
    _lock: File,
}

impl ReadToken {
    /// Reads the token from a file. Creates a new token if there is no file or it has no token.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let secret = match std::fs::metadata(&path) {
            Ok(_) => parse(&File::open(&path)?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let secret = match secret {
            Some(secret) => secret,
            None => create(&path)?,
        };
        let lock = File::open(&path)?;
        lock.lock_shared()?;
        Ok(Self { secret, path, _lock: lock })
    }

    /// Returns the absolute path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, secret: &[u8]) -> bool {
        self.secret.as_bytes().ct_eq(secret).into()
    }
}

fn create(path: &Path) -> io::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    let generator = crate::tls::provider().secure_random;
    generator.fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    let mut secret = PREFIX.to_owned();
    for byte in random {
        // Writing to a string cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    write_atomically(path, format!("{HEADER}{secret}\n").as_bytes())?;
    Ok(secret)
}

/// Returns the token in a file, if it has one.
fn parse(file: &File) -> io::Result<Option<String>> {
    let bytes_max = HEADER.len() + PREFIX.len() + 2 * RANDOM_BYTES + 1;
    let mut line = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut line)?;
    let secret = str::from_utf8(&line).ok().and_then(|line| line.trim_end().strip_prefix(HEADER));
    let is_token = |secret: &&str| {
        secret.strip_prefix(PREFIX).is_some_and(|hex| {
            hex.len() == 2 * RANDOM_BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    Ok(secret.filter(is_token).map(str::to_owned))
}

/// Returns the token in a file that a server named; `None` if no server uses it now: another program
/// that has taken the server's port must not receive the token.
pub(crate) fn in_use(path: &Path) -> io::Result<Option<String>> {
    // Never opens a pipe or a device.
    if !path.is_absolute() || !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => parse(&file),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_in_use_while_its_server_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = ReadToken::open(&path).unwrap();
        let secret = in_use(&path).unwrap().unwrap();
        assert!(token.is(secret.as_bytes()));
        assert!(ReadToken::open(&path).unwrap().is(secret.as_bytes()), "the same after a restart");
        drop(token);
        assert_eq!(in_use(&path).unwrap(), None);
    }

    #[test]
    fn file_without_a_token_is_replaced_and_never_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let hex = "0".repeat(2 * RANDOM_BYTES);
        for text in [
            String::new(),
            "Authorization: Bearer another-secret\n".to_owned(),
            format!("{HEADER}{PREFIX}{hex}0\n"),
            format!("{HEADER}{PREFIX}{hex}\nX-Other: 1\n"),
            format!("{PREFIX}{hex}\n"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let other = File::open(&path).unwrap();
            other.lock_shared().unwrap();
            assert_eq!(in_use(&path).unwrap(), None, "{text}");
            drop(other);
            let token = ReadToken::open(&path).unwrap();
            assert_ne!(std::fs::read_to_string(&path).unwrap(), text);
            assert!(in_use(&path).unwrap().is_some_and(|secret| token.is(secret.as_bytes())));
        }
    }
}
