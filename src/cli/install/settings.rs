//! The settings file of an agent on disk, and the backup from which `uninstall` restores it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use jsonc_parser::json;
use similar::TextDiff;

use super::super::say;
use super::agents::{Agent, Destination, SettingsScope};
use super::document::{Document, add, set_default};

/// A settings file as read from disk.
pub(super) struct Settings {
    agent: Agent,
    path: PathBuf,
    /// Holds the content from before the first `install`.
    pub(super) backup: PathBuf,
    /// `None` if the file does not exist.
    pub(super) text: Option<String>,
}

impl Settings {
    pub(super) fn read(agent: Agent, scope: SettingsScope) -> anyhow::Result<Self> {
        Self::at(agent, path_of(agent, scope)?)
    }

    fn at(agent: Agent, path: PathBuf) -> anyhow::Result<Self> {
        // The file is often a link into a dotfiles repository: edit the target, keep the link.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let mut backup = path.clone().into_os_string();
        backup.push(".before-hooks-backend");
        let text = read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { agent, path, backup: backup.into(), text })
    }

    pub(super) fn show(&self) -> String {
        self.path.display().to_string()
    }

    /// The text with our hooks registered once, for this destination, and the number of hooks.
    pub(super) fn with_hooks(&self, to: &Destination) -> anyhow::Result<(String, usize)> {
        let entries = self.agent.entries(to);
        let count = entries.len();
        let text = self.with_version(&self.without_hooks()?).and_then(|text| add(&text, entries));
        Ok((text.map_err(|error| self.not_understood(&error))?, count))
    }

    /// The text without our hooks: byte for byte the backup, unless something else was changed
    /// since `install`.
    pub(super) fn without_hooks(&self) -> anyhow::Result<String> {
        let Some(text) = &self.text else { return Ok(String::new()) };
        let document = Document::parse(text).map_err(|error| self.not_understood(&error))?;
        let backup = read(&self.backup).with_context(|| self.backup.display().to_string())?;
        let before = backup.as_deref().map(Document::parse).transpose();
        let before = before.map_err(|error| anyhow!("{}: {error}", self.backup.display()))?;
        let left = document.without_hooks(before.as_ref(), |hook| self.agent.is_own(hook));
        match backup {
            Some(backup) if left != *text && self.is_restored(&left, &backup) => Ok(backup),
            _ => Ok(left),
        }
    }

    /// True if `left` is the backup in another layout, with or without the version that `install` adds.
    fn is_restored(&self, left: &str, backup: &str) -> bool {
        let is_same = |backup: &str| match (Document::parse(left), Document::parse(backup)) {
            (Ok(left), Ok(backup)) => left.is_same(&backup),
            _ => false,
        };
        is_same(backup) || self.with_version(backup).is_ok_and(|backup| is_same(&backup))
    }

    fn with_version(&self, text: &str) -> Result<String, String> {
        if self.agent.has_version() {
            set_default(text, "version", json!(1))
        } else {
            Ok(text.to_owned())
        }
    }

    /// True if `uninstall` can delete the file instead of writing `text`.
    pub(super) fn can_be_deleted(&self, text: &str) -> bool {
        let has_version = self.agent.file_is_for_hooks();
        !self.backup.exists()
            && Document::parse(text).is_ok_and(|document| document.is_empty(has_version))
    }

    fn not_understood(&self, error: &str) -> anyhow::Error {
        anyhow!(
            "{}: {error}; nothing was changed. Correct the file, or register the hooks by hand",
            self.show()
        )
    }

    /// Prints the change as a unified diff.
    pub(super) fn show_change(&self, text: &str) {
        let path = self.show();
        let before = self.text.as_deref().unwrap_or_default();
        let diff = TextDiff::from_lines(before, text);
        say(diff.unified_diff().context_radius(3).header(&path, &path));
    }

    /// Saves the content from before the first `install`.
    pub(super) fn back_up(&self) -> anyhow::Result<()> {
        if let Some(text) = &self.text
            && !self.backup.exists()
            && self.without_hooks()? == *text
        {
            write(&self.backup, text, &self.path)
                .with_context(|| self.backup.display().to_string())?;
        }
        Ok(())
    }

    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        write(&self.path, text, &self.path).with_context(|| self.show())
    }

    pub(super) fn delete(&self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| self.show())
    }

    pub(super) fn delete_backup(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.backup.display().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// The settings file of an agent.
pub(super) fn path_of(agent: Agent, scope: SettingsScope) -> anyhow::Result<PathBuf> {
    // The directory that holds the settings can be elsewhere.
    let moved = agent.directory_variable().filter(|_| scope == SettingsScope::User);
    let moved = moved.and_then(std::env::var_os).map(PathBuf::from);
    match moved.filter(|directory| directory.is_absolute()) {
        Some(directory) => {
            let file = agent.file(scope);
            Ok(directory.join(file.components().skip(1).collect::<PathBuf>()))
        }
        None => Ok(root(scope)?.join(agent.file(scope))),
    }
}

/// The directory that [`Agent::file`] is relative to.
pub(super) fn root(scope: SettingsScope) -> anyhow::Result<PathBuf> {
    match scope {
        SettingsScope::Project => {
            std::env::current_dir().context("cannot read the current directory")
        }
        SettingsScope::User => std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .context("HOME is not an absolute path: cannot find the user's settings"),
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file atomically, with the permissions of the file `like`.
fn write(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let mut file = fs::File::create(&new)?;
    if let Ok(metadata) = fs::metadata(like) {
        file.set_permissions(fs::Permissions::from_mode(metadata.permissions().mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use jsonc_parser::cst::CstInputValue;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, Value};

    use super::*;

    const TO: Destination = Destination {
        url: "http://127.0.0.1:8080",
        program: "/usr/bin/hooks-backend",
        http: false,
        scope: SettingsScope::User,
    };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn uninstall_restores_every_settings_file(
            agent in select(&Agent::ALL[..]),
            before in settings_text(),
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("settings.json");
            fs::write(&path, &before).expect("written");
            let settings = || Settings::at(agent, path.clone()).expect("read");

            let (installed, _) = settings().with_hooks(&TO).expect("installed");
            settings().back_up().expect("backed up");
            settings().write(&installed).expect("written");
            assert_hooks_are_registered(agent, &before, &installed);
            prop_assert!(settings().with_hooks(&TO).expect("installed").0 == installed, "{installed}");

            prop_assert_eq!(settings().without_hooks().expect("uninstalled"), before);
        }
    }

    /// Parses both texts with `serde_json` and compares the hooks.
    fn assert_hooks_are_registered(agent: Agent, before: &str, installed: &str) {
        let parse = |text: &str| -> Value {
            let plain = plain_json(text);
            let plain = if plain.trim().is_empty() { "{}" } else { &*plain };
            serde_json::from_str(plain).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        let mut expected = parse(before);
        if agent.has_version() && expected.get("version").is_none() {
            expected["version"] = Value::from(1);
        }
        for entry in agent.entries(&TO) {
            let list = &mut expected["hooks"][entry.event];
            if list.is_null() {
                *list = Value::Array(Vec::new());
            }
            list.as_array_mut().expect("an array").push(to_json(entry.value));
        }
        assert!(parse(installed) == expected, "{installed}");
    }

    fn to_json(value: CstInputValue) -> Value {
        match value {
            CstInputValue::Null => Value::Null,
            CstInputValue::Bool(value) => Value::from(value),
            CstInputValue::Number(digits) => serde_json::from_str(&digits).expect("a number"),
            CstInputValue::String(text) => Value::from(text),
            CstInputValue::Array(values) => values.into_iter().map(to_json).collect(),
            CstInputValue::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, to_json(value)));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// The text without byte order mark, comments and trailing commas.
    fn plain_json(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text.trim_start_matches('\u{feff}');
        while let Some(first) = rest.chars().next() {
            let (length, is_kept) = if rest.starts_with("//") {
                (rest.find(['\n', '\r']).unwrap_or(rest.len()), false)
            } else if rest.starts_with("/*") {
                (rest.find("*/").expect("the end of the comment") + 2, false)
            } else if first == '"' {
                let mut escaped = false;
                let end = rest.bytes().skip(1).position(|byte| {
                    let is_end = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    is_end
                });
                (end.expect("the end of the string") + 2, true)
            } else {
                (first.len_utf8(), true)
            };
            if matches!(first, '}' | ']') {
                let end = plain.trim_end().len();
                if plain[..end].ends_with(',') {
                    plain.truncate(end - 1);
                }
            }
            if is_kept {
                plain.push_str(&rest[..length]);
            }
            rest = &rest[length..];
        }
        plain
    }

    /// Settings files in JSON with comments, with unusual but valid layout.
    fn settings_text() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            4 => member(select(&["\"model\"", "\"env\"", "\"\\u0068\"", "\"é\""][..]), value()),
            2 => member(Just("\"hooks\""), hooks()),
            1 => member(Just("\"version\""), Just("1".to_owned())),
        ];
        let object = prop_oneof![9 => list('{', member, '}'), 1 => Just(String::new())];
        let mark = prop_oneof![4 => Just(""), 1 => Just("\u{feff}")];
        (mark, trivia(), object, trivia())
            .prop_map(|(mark, before, object, after)| format!("{mark}{before}{object}{after}"))
    }

    fn hooks() -> impl Strategy<Value = String> {
        let events = ["\"Stop\"", "\"stop\"", "\"PreToolUse\"", "\"sessionStart\"", "\"mine\""];
        let group = list('{', member(Just("\"hooks\""), list('[', value(), ']')), '}');
        let entries = list('[', prop_oneof![value(), group], ']');
        list('{', member(select(events.to_vec()), entries), '}')
    }

    fn value() -> impl Strategy<Value = String> + Clone {
        let texts = ["1.5e3", "null", "false", "\"\"", "\"// no \\\"comment\\\" */\"", "\"}],\""];
        let leaf = select(texts.to_vec()).prop_map(str::to_owned);
        leaf.prop_recursive(2, 12, 3, |inner| {
            let keys = select(&["\"command\"", "\"matcher\""][..]);
            prop_oneof![list('[', inner.clone(), ']'), list('{', member(keys, inner), '}')]
        })
    }

    fn member(
        key: impl Strategy<Value = &'static str>,
        value: impl Strategy<Value = String>,
    ) -> impl Strategy<Value = String> {
        (key, trivia(), trivia(), value)
            .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"))
    }

    fn list(
        open: char,
        item: impl Strategy<Value = String>,
        close: char,
    ) -> impl Strategy<Value = String> {
        let items = vec((trivia(), item, trivia()), 0..4);
        (items, any::<bool>(), trivia()).prop_map(move |(items, trailing_comma, end)| {
            let comma = if trailing_comma && !items.is_empty() { "," } else { "" };
            let items = items.iter().map(|(before, item, after)| format!("{before}{item}{after}"));
            let items = items.collect::<Vec<_>>().join(",");
            format!("{open}{items}{comma}{end}{close}")
        })
    }

    /// White space and comments.
    fn trivia() -> impl Strategy<Value = String> {
        let pieces = [
            " ",
            "  ",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "\n    ",
            "/* c */",
            "/* }\n */",
            "// \"c\n",
            "// c\r\n",
        ];
        vec(select(pieces.to_vec()), 0..3).prop_map(|pieces| pieces.concat())
    }
}
