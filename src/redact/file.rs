//! Patterns files: one rule per line, in the form `name = regular expression`. The line `standard` includes the
//! standard rules; lines that begin with `#` are comments.

use std::path::Path;

use regex::{Regex, RegexBuilder};

use super::mark::{NAME_BYTES_MAX, UNSEARCHED, is_name_byte};
use super::rules;
use crate::text_file;

/// Maximum number of rules in a file. Each rule takes time for every string of every event.
const RULES_MAX: usize = 100;

/// Maximum size of a compiled pattern in bytes. The time of the slowest patterns grows with it.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Reads a file. Returns whether it includes the standard rules, and its own rules.
pub(super) fn read(path: &Path) -> Result<(bool, Vec<(String, Regex)>), String> {
    let text = text_file::read(path).map_err(|error| {
        format!(
            "REDACT is '{}', which cannot be read: {error}; expected off, standard, or the path of \
             a patterns file",
            path.display()
        )
    })?;
    let mut standard = false;
    let mut own: Vec<(String, Regex)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong =
            |reason: &str| format!("REDACT: {}, line {}: {reason}", path.display(), number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "standard" {
            standard = true;
            continue;
        }
        let (name, pattern) = line
            .split_once('=')
            .ok_or_else(|| wrong("expected 'name = regular expression', or 'standard'"))?;
        let name = name.trim();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name_byte) {
            return Err(wrong(&format!(
                "a name must be 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens, not '{name}'"
            )));
        }
        if own.iter().any(|(other, _)| other == name)
            || rules::STANDARD.iter().any(|rule| rule.name == name)
            || name == UNSEARCHED
        {
            return Err(wrong(&format!("the name '{name}' is already in use")));
        }
        let regex = RegexBuilder::new(pattern.trim())
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| wrong(&reason(&error)))?;
        // In an empty text, and beside a character.
        if ["", "a"].iter().any(|text| regex.find_iter(text).any(|found| found.is_empty())) {
            return Err(wrong("the pattern matches the empty string"));
        }
        own.push((name.to_owned(), regex));
        if own.len() > RULES_MAX {
            return Err(wrong(&format!("more than {RULES_MAX} rules")));
        }
    }
    if !standard && own.is_empty() {
        return Err(format!("REDACT: {} has no rules; use 'off' for no redaction", path.display()));
    }
    Ok((standard, own))
}

/// Returns the error of a pattern in one line, without the library's drawing of the position.
fn reason(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        let mib = PATTERN_BYTES_MAX >> 20;
        return format!(
            "the compiled pattern is larger than {mib} MiB: repeat fewer or smaller classes; [0-9A-Za-z_] is \
             smaller than \\w"
        );
    }
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("not a regular expression: {}", last.trim_start_matches("error: "))
}
