//! Names of rotated JSON Lines files: the one place that makes and recognizes them.
//!
//! | `events.jsonl` rotated by | name |
//! |---|---|
//! | this server | `events-20261123T090000123456Z.jsonl` |
//! | logrotate | `events.jsonl.1`, `events.jsonl-20261123` |

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::Timestamp;
use crate::event::timestamp::parse_text;

/// The program that rotated a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RotatedBy {
    /// This server, at that time.
    Server(Timestamp),
    /// logrotate, by number or by date.
    Logrotate,
}

/// Names of the files rotated from one JSON Lines file.
#[derive(Debug)]
pub(crate) struct RotatedNames {
    directory: PathBuf,
    /// `events.jsonl`
    name: String,
    /// `events-`
    prefix: String,
    /// `.jsonl`, or nothing.
    extension: String,
}

impl RotatedNames {
    /// Names of the files rotated from `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let extension = path.extension().map(|extension| format!(".{}", extension.display()));
        Self {
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            name: path.file_name().unwrap_or_default().display().to_string(),
            prefix: format!("{}-", path.file_stem().unwrap_or_default().display()),
            extension: extension.unwrap_or_default(),
        }
    }

    /// The path this server gives the file when it rotates it at `time`.
    pub(super) fn path_at(&self, time: Timestamp) -> PathBuf {
        let time = format_time(time);
        self.directory.join(format!("{}{time}{}", self.prefix, self.extension))
    }

    /// The program that gave a file this name; `None` if it is not a rotated file's name.
    fn parse(&self, name: &str) -> Option<RotatedBy> {
        let server = name.strip_prefix(&*self.prefix);
        let server = server.and_then(|rest| rest.strip_suffix(&*self.extension));
        if let Some(time) = server.and_then(parse_time) {
            return Some(RotatedBy::Server(time));
        }
        let number = name.strip_prefix(&*self.name)?.strip_prefix(['.', '-'])?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(RotatedBy::Logrotate)
    }

    /// Rotated files, oldest first by the time of their last change.
    pub(crate) fn oldest_first(&self) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut files = Vec::new();
        for (_, path) in self.list()? {
            match std::fs::metadata(&path) {
                // A directory or a pipe has no lines.
                Ok(metadata) if !metadata.is_file() => {}
                Ok(metadata) => files.push((metadata.modified()?, path, metadata)),
                // Renamed or deleted by another program since the directory was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_by(|(a, a_path, _), (b, b_path, _)| (a, a_path).cmp(&(b, b_path)));
        Ok(files.into_iter().map(|(_, path, metadata)| (path, metadata)).collect())
    }

    /// The rotated files in the directory, in no particular order.
    fn list(&self) -> io::Result<Vec<(RotatedBy, PathBuf)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Some(by) = entry.file_name().to_str().and_then(|name| self.parse(name)) {
                files.push((by, entry.path()));
            }
        }
        Ok(files)
    }

    /// The files that this server rotated, oldest first.
    pub(super) fn by_server(&self) -> io::Result<Vec<PathBuf>> {
        let mut files: Vec<(Timestamp, PathBuf)> = Vec::new();
        for (by, path) in self.list()? {
            if let RotatedBy::Server(time) = by {
                files.push((time, path));
            }
        }
        files.sort_unstable();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }
}

/// `20261123T090000123456Z`: RFC 3339 without punctuation, so that names sort by time.
fn format_time(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.retain(|character| character.is_ascii_alphanumeric());
    text
}

fn parse_time(text: &str) -> Option<Timestamp> {
    if text.len() != "20261123T090000123456Z".len() || !text.is_ascii() {
        return None;
    }
    let part = |from: usize, to: usize| &text[from..to];
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let (hour, minute, second, micros) = (part(9, 11), part(11, 13), part(13, 15), part(15, 21));
    let time = format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{micros}Z");
    parse_text(&time).ok().filter(|time| format_time(*time) == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_name(path: &Path) -> &str {
        path.file_name().unwrap().to_str().unwrap()
    }

    proptest! {
        #[test]
        fn a_name_parses_to_the_time_it_was_made_for(
            path in "([a-z]{1,3}/){0,2}[A-Za-z0-9-]{1,8}(\\.[a-z]{1,5}){0,2}",
            micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros(),
        ) {
            let path = Path::new(&path);
            let time = Timestamp::from_micros(micros).unwrap();
            let names = RotatedNames::of(path);
            let rotated = names.path_at(time);
            prop_assert_eq!(names.parse(file_name(&rotated)), Some(RotatedBy::Server(time)));
            prop_assert_eq!(names.parse(file_name(path)), None);
        }

        #[test]
        fn any_text_that_parses_is_the_name_of_that_time(
            text in "events-[0-9]{8}[TZ0-9][0-9]{12}[TZ0-9]\\.jsonl",
        ) {
            let names = RotatedNames::of(Path::new("events.jsonl"));
            if let Some(RotatedBy::Server(time)) = names.parse(&text) {
                let path = names.path_at(time);
                prop_assert_eq!(file_name(&path), text);
            }
        }
    }

    #[test]
    fn names_of_other_files_are_not_rotated_names() {
        let names = RotatedNames::of(Path::new("dir/events.jsonl"));
        for name in [
            "events.jsonl",
            "events.jsonl.keys",
            "events.jsonl.index",
            "events.jsonl.lock",
            "events.jsonl.torn",
            "events.jsonl.",
            "events.jsonl.1.gz",
            "events-20261123T090000123456Z.jsonl.gz",
            "events-20261323T090000123456Z.jsonl",
            "events-2026T123090000123456ZZ.jsonl",
            "other-20261123T090000123456Z.jsonl",
        ] {
            assert_eq!(names.parse(name), None, "{name}");
        }
        for name in ["events.jsonl.1", "events.jsonl-20261123"] {
            assert_eq!(names.parse(name), Some(RotatedBy::Logrotate), "{name}");
        }
    }
}
