//! The plugin for opencode, which has no hooks in its settings: one file, which is ours.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::super::say;
use super::agents::SettingsScope;
use super::settings::root;

const TEMPLATE: &str = include_str!("opencode.js");

/// First words of the file, by which it is recognized.
const MARK: &str = "// hooks-backend: ";

const FILE: &str = "plugin/hooks-backend.js";

/// The plugin's file.
pub(super) fn path(scope: SettingsScope) -> anyhow::Result<PathBuf> {
    if scope == SettingsScope::Project {
        return Ok(root(scope)?.join(".opencode").join(FILE));
    }
    let moved = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = moved.filter(|path| path.is_absolute());
    let config = config.map_or_else(|| root(scope).map(|home| home.join(".config")), Ok)?;
    Ok(config.join("opencode").join(FILE))
}

/// Returns the server's URL in the plugin; `None` if there is no plugin of ours.
pub(super) fn server(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok().filter(|text| text.starts_with(MARK))?;
    let url = text.lines().find_map(|line| line.strip_prefix("const URL = "))?;
    serde_json::from_str(url).ok()
}

/// Writes the plugin.
pub(super) fn install(
    scope: SettingsScope,
    program: &str,
    url: &str,
    dry_run: bool,
) -> anyhow::Result<()> {
    let path = path(scope)?;
    let quoted = |text: &str| Value::from(text).to_string();
    let text = TEMPLATE
        .replace("{{url}}", url)
        .replace("{{program}}", &quoted(program))
        .replace("{{json_url}}", &quoted(url));
    let before = match fs::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(path.display().to_string()),
    };
    let show = path.display();
    ensure!(
        before.is_empty() || before.starts_with(MARK),
        "{show} exists, but was not written by hooks-backend; nothing was changed"
    );
    if before == text {
        say(format_args!("{show}: nothing to change, the plugin is installed"));
        return Ok(());
    }
    if dry_run {
        say(format_args!("{text}{show}: not written (--dry-run)"));
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let new = path.with_extension("js.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).context(show.to_string())?;
    say(format_args!("{show}: the plugin is installed for {url}"));
    Ok(())
}

/// Deletes the plugin.
pub(super) fn uninstall(scope: SettingsScope, dry_run: bool) -> anyhow::Result<()> {
    let path = path(scope)?;
    let show = path.display();
    if server(&path).is_none() {
        say(format_args!("{show}: no plugin of hooks-backend, nothing to remove"));
    } else if dry_run {
        say(format_args!("{show}: not deleted (--dry-run)"));
    } else {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        say(format_args!("{show}: deleted"));
    }
    Ok(())
}
