//! Checks of the paths that the server writes to, before it creates anything.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::ConfigError;
use super::source::SettingName;

/// Checks that a path can be a file of events: nothing, or a regular file.
pub(super) fn check_file(setting: SettingName, path: &Path) -> Result<(), ConfigError> {
    let wrong = |reason: &str| wrong(setting, path, reason);
    // `Path` ignores a slash at the end.
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() {
        return Err(wrong("it names a directory; a file is needed"));
    }
    if path.file_name().is_some_and(|name| name == "rejected.jsonl") {
        return Err(wrong("the server keeps rejected events in a file of this name"));
    }
    match kind_at(path) {
        Ok(Some(kind)) if !kind.is_file() => {
            Err(wrong(&format!("it is {}; a regular file is needed", describe(kind))))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// Checks that a path can be a directory: nothing, or a directory.
pub(super) fn check_directory(setting: SettingName, path: &Path) -> Result<(), ConfigError> {
    match kind_at(path) {
        Ok(Some(kind)) if !kind.is_dir() => {
            let reason = format!("it is {}; a directory is needed", describe(kind));
            Err(wrong(setting, path, &reason))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(setting, path, &error.to_string())),
    }
}

fn wrong(setting: SettingName, path: &Path, reason: &str) -> ConfigError {
    ConfigError::Path { setting, path: path.to_owned(), reason: reason.to_owned() }
}

/// The type of what is at a path; `None` if there is nothing.
fn kind_at(path: &Path) -> io::Result<Option<FileType>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "a regular file"
    }
}
