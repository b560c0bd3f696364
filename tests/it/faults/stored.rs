//! Reads stored events, from damaged files too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::world::World;
use crate::harness::Storage;
use crate::harness::workspace::{read_lines, with_all_fields};

impl World {
    /// All entries of `rejected.jsonl`.
    pub(crate) fn rejected(&self) -> Vec<Value> {
        let files = self.nodes.iter().map(|node| node.data.join("rejected.jsonl"));
        files.filter(|file| file.exists()).flat_map(|file| read_lines(&file)).collect()
    }

    /// All stored events.
    pub(crate) fn stored(&self) -> Vec<Value> {
        if self.storage == Storage::Postgres {
            return self.workspace.events();
        }
        let files = self.nodes.iter().flat_map(|node| line_files(&node.data));
        let damaged = self.is_damaged();
        let read = |file: PathBuf| if damaged { whole_lines(&file) } else { read_lines(&file) };
        files.flat_map(read).map(with_all_fields).collect()
    }
}

/// The files of jsonl storage, including rotated ones.
pub(crate) fn line_files(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data) else { return Vec::new() };
    let named = entries.flatten().map(|entry| (entry.file_name(), entry.path()));
    let files: BTreeMap<_, _> = named
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            // This server's names end with the extension, logrotate's with a number.
            name.starts_with("events")
                && (name.ends_with(".jsonl") || name.ends_with(|last: char| last.is_ascii_digit()))
        })
        .collect();
    files.into_values().collect()
}

/// The events in the intact lines of a file.
pub(crate) fn whole_lines(file: &Path) -> Vec<Value> {
    let bytes = std::fs::read(file).unwrap_or_default();
    // Lines of a segment end with a TAB and a checksum, which may be cut off.
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let whole = lines.filter(|line| line.ends_with(b"\n") || !line.contains(&b'\t'));
    let json = whole.map(|line| line.split(|&byte| byte == b'\t').next().unwrap_or_default());
    json.filter_map(|json| serde_json::from_slice(json).ok()).filter(Value::is_object).collect()
}

pub(crate) fn ids(events: &[Value]) -> Vec<String> {
    events.iter().filter_map(|event| Some(event["event_id"].as_str()?.to_owned())).collect()
}
