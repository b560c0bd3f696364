//! The setting `REDACT`.

use std::path::PathBuf;
use std::str::FromStr;

/// The rules by which secrets are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redact {
    /// No rules.
    Off,
    /// The standard rules.
    Standard,
    /// The rules of a patterns file.
    File(PathBuf),
}

impl FromStr for Redact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.trim() {
            "" => return Err("expected off, standard, or the path of a patterns file".to_owned()),
            off if off.eq_ignore_ascii_case("off") => Self::Off,
            standard if standard.eq_ignore_ascii_case("standard") => Self::Standard,
            path => Self::File(path.into()),
        })
    }
}
