//! Modes of the server's files. Events contain secrets, so only the server's user may access them, or its
//! group too (`FILE_MODE`).

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::journal::RotatedNames;

/// Limits the modes of all files that the process creates from now on, also in libraries: files to `mode`,
/// directories to `mode` with the right to enter for everyone who may read.
pub(crate) fn limit_new_files(mode: u32) {
    let directories = mode | (mode & 0o444) >> 2;
    rustix::process::umask(Mode::from_raw_mode(0o777 & !directories));
}

/// The files of a storage.
#[derive(Clone, Debug)]
pub(crate) enum StorageFiles {
    /// The JSON Lines file, and those beside it whose names begin with its name.
    Jsonl(PathBuf),
    /// A journal directory and all files in it.
    Directory(PathBuf),
}

impl StorageFiles {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let (directory, name) = match self {
            Self::Jsonl(file) => {
                let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
                (directory.unwrap_or(Path::new(".")), file.file_name().unwrap_or_default())
            }
            Self::Directory(directory) => (directory.as_path(), "".as_ref()),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?.file_name();
            let is_ours = entry.as_encoded_bytes().starts_with(name.as_encoded_bytes());
            if is_ours || entry == "rejected.jsonl" {
                files.push(directory.join(entry));
            }
        }
        match self {
            Self::Jsonl(file) => {
                let rotated = RotatedNames::of(file).oldest_first()?;
                files.extend(rotated.into_iter().map(|(path, _)| path));
            }
            Self::Directory(directory) => files.push(directory.clone()),
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Returns the files to which others have more rights than `mode` gives them.
    pub(crate) fn exposed(&self, mode: u32) -> io::Result<Option<Exposed>> {
        let mut found: Option<Exposed> = None;
        for path in self.list()? {
            let metadata = match std::fs::metadata(&path) {
                Ok(metadata) => metadata,
                // Deleted or renamed since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let allowed = if metadata.is_dir() { mode | (mode & 0o444) >> 2 } else { mode };
            let has = metadata.permissions().mode() & 0o777;
            if has & 0o077 & !allowed == 0 {
                continue;
            }
            let first = Exposed { path, has, allowed: has & (0o700 | allowed), count: 0 };
            found.get_or_insert(first).count += 1;
        }
        Ok(found)
    }
}

/// Files that other users can access.
#[derive(Debug)]
pub(crate) struct Exposed {
    path: PathBuf,
    has: u32,
    allowed: u32,
    count: usize,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, has, allowed, count } = self;
        let path = path.display().to_string();
        let path = path.escape_debug();
        write!(f, "other users can access {path} (mode {has:04o})")?;
        if *count > 1 {
            write!(f, " and {} more files of the server", count - 1)?;
        }
        write!(f, "; FILE_MODE applies to new files only: chmod {allowed:04o} '{path}'")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn files_with_more_rights_than_the_mode_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events.jsonl");
        let rotated = directory.path().join("events-20261123T090000123456Z.jsonl");
        for path in [&file, &rotated, &directory.path().join("another.txt")] {
            write(path, "").unwrap();
            set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        let files = StorageFiles::Jsonl(file.clone());
        let found = |mode| files.exposed(mode).unwrap().map(|exposed| exposed.to_string());
        let text = found(0o600).unwrap();
        assert!(text.contains("events-2026") && text.contains("and 1 more"), "{text}");
        assert!(text.contains("mode 0644") && text.contains("chmod 0600"), "{text}");
        set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        set_permissions(&rotated, Permissions::from_mode(0o640)).unwrap();
        assert!(found(0o600).is_some());
        assert_eq!(found(0o640), None);
        let journal = StorageFiles::Directory(directory.path().to_owned());
        set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let text = journal.exposed(0o640).unwrap().unwrap().to_string();
        assert!(text.contains("chmod 0750") && text.contains("and 1 more"), "{text}");
    }
}
