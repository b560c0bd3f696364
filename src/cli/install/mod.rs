//! `hooks-backend install` and `uninstall`: an agent's settings file, changed as little as possible
//! and back to the byte.

mod agents;
mod edit;
mod scan;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use similar::TextDiff;

use super::client::{DEFAULT_URL, address};
use super::say;

pub(super) use agents::{Agent, Scope};

/// The arguments of `install`.
#[derive(clap::Args, Debug)]
pub struct InstallArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// The server's address, as the agent reaches it
    #[arg(long, env = "HOOKS_URL", value_name = "URL", default_value = DEFAULT_URL)]
    url: String,

    /// Register commands (emit) even where the agent can call the server itself (Claude Code): slower,
    /// but they keep what happens while the server is down
    #[arg(long)]
    commands: bool,
}

/// The arguments of `uninstall`, which `install` has too.
#[derive(clap::Args, Debug)]
pub struct PlaceArgs {
    /// The agent
    #[arg(value_enum)]
    agent: Agent,

    /// In the user's own settings (the default)
    #[arg(long, conflicts_with = "project")]
    user: bool,

    /// In the settings of the project in this directory
    #[arg(long)]
    project: bool,

    /// Show the change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Registers the hooks.
///
/// # Errors
/// If the settings cannot be read, understood or written.
pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let url = address(&args.url);
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    let quotable = !url.contains(|c: char| c.is_whitespace() || "'\"\\$`;&|<>()?#".contains(c));
    ensure!(
        is_url && quotable,
        "{url:?} is no address of a server: it must be like http://127.0.0.1:8080"
    );
    let agent = args.place.agent;
    let settings = Settings::read(&args.place)?;
    let entries = agent.entries(url, &program()?, args.commands);
    let text = settings.without_ours()?;
    let text = if agent.has_version() { edit::ensure(&text, "version", "1") } else { Ok(text) };
    let text = text.and_then(|text| edit::add(&text, &entries));
    let text = text.map_err(|error| settings.not_understood(&error))?;
    if settings.text.as_deref() == Some(&*text) {
        say(format_args!(
            "{}: nothing to change, {} hooks are registered",
            settings.show(),
            entries.len()
        ));
        return Ok(());
    }
    settings.show_change(&text);
    if args.place.dry_run {
        say(format_args!("{}: not changed (--dry-run)", settings.show()));
        return Ok(());
    }
    settings.back_up()?;
    settings.write(&text)?;
    say(format_args!("{}: {} hooks are registered for {url}", settings.show(), entries.len()));
    if settings.backup.exists() {
        say(format_args!("{}: as it was before", settings.backup.display()));
    }
    say(format_args!(
        "next: start {} anew and use it; 'hooks-backend doctor' checks what is set up; \
         'hooks-backend uninstall {}{}' undoes this",
        agent.name(),
        agent.name(),
        if args.place.project { " --project" } else { "" }
    ));
    Ok(())
}

/// Takes the hooks out again.
///
/// # Errors
/// As [`install`].
pub(super) fn uninstall(args: &PlaceArgs) -> anyhow::Result<()> {
    let settings = Settings::read(args)?;
    let Some(before) = &settings.text else {
        say(format_args!("{}: is not there, nothing to take out", settings.show()));
        return Ok(());
    };
    let text = settings.without_ours()?;
    if *before == text {
        say(format_args!(
            "{}: has no hooks of hooks-backend, nothing to take out",
            settings.show()
        ));
        return Ok(());
    }
    settings.show_change(&text);
    if args.dry_run {
        say(format_args!("{}: not changed (--dry-run)", settings.show()));
        return Ok(());
    }
    let left = edit::essence(&text);
    let nothing_left = left == "{}" || args.agent.file_is_for_hooks() && left == "{\"version\":1}";
    if nothing_left && !settings.backup.exists() {
        fs::remove_file(&settings.path).with_context(|| settings.show())?;
        say(format_args!("{}: deleted, it had nothing else", settings.show()));
        return Ok(());
    }
    settings.write(&text)?;
    // What it was for is done; what it holds is in the file, or was changed since on purpose.
    if settings.backup.exists() {
        fs::remove_file(&settings.backup).with_context(|| settings.backup.display().to_string())?;
    }
    say(format_args!("{}: the hooks are taken out, and all else is as it was", settings.show()));
    Ok(())
}

/// A settings file.
struct Settings {
    agent: Agent,
    path: PathBuf,
    backup: PathBuf,
    text: Option<String>,
}

impl Settings {
    fn read(args: &PlaceArgs) -> anyhow::Result<Self> {
        let scope = if args.project { Scope::Project } else { Scope::User };
        let path = root(scope)?.join(args.agent.file(scope));
        // Settings are often links into a repository; the link stays.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let mut backup = path.clone().into_os_string();
        backup.push(".before-hooks-backend");
        let text = read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { agent: args.agent, path, backup: backup.into(), text })
    }

    fn show(&self) -> String {
        self.path.display().to_string()
    }

    fn not_understood(&self, error: &str) -> anyhow::Error {
        anyhow!(
            "{}: {error}; nothing was changed. Put the file right, or register the hooks by hand",
            self.show()
        )
    }

    /// The text without our entries: to the byte what it was before them, if nothing else was
    /// changed since.
    fn without_ours(&self) -> anyhow::Result<String> {
        let Some(text) = &self.text else { return Ok(String::new()) };
        let before = read(&self.backup).with_context(|| self.backup.display().to_string())?;
        let removed = edit::remove(text, before.as_deref(), |entry| self.agent.is_own(entry));
        let removed = removed.map_err(|error| self.not_understood(&error))?;
        let Some(before) = before.filter(|_| removed != *text) else { return Ok(removed) };
        let as_before = same(&removed, &before)
            || self.agent.has_version()
                && edit::ensure(&before, "version", "1").is_ok_and(|with| same(&removed, &with));
        Ok(if as_before { before } else { removed })
    }

    fn show_change(&self, text: &str) {
        let path = self.show();
        let before = self.text.as_deref().unwrap_or_default();
        let diff = TextDiff::from_lines(before, text);
        say(diff.unified_diff().context_radius(3).header(&path, &path));
    }

    /// Keeps the file as it was before the first change.
    fn back_up(&self) -> anyhow::Result<()> {
        if let Some(text) = &self.text
            && !self.backup.exists()
            && self.without_ours()? == *text
        {
            write(&self.backup, text, &self.path)
                .with_context(|| self.backup.display().to_string())?;
        }
        Ok(())
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        write(&self.path, text, &self.path).with_context(|| self.show())
    }
}

/// What is registered with an agent.
pub(super) struct Registered {
    pub(super) path: PathBuf,
    /// For each hook the server that it leads to, or why the file cannot be understood.
    pub(super) hooks: Result<Vec<String>, String>,
}

/// What is registered in an agent's settings; `None` if there is nothing of ours.
pub(super) fn registered(agent: Agent, scope: Scope) -> Option<Registered> {
    let path = root(scope).ok()?.join(agent.file(scope));
    let text = fs::read_to_string(&path).ok().filter(|text| agent.is_own(text))?;
    let hooks = scan::scan(&text).map(|root| {
        let events = root.member("hooks").map(scan::Value::members).unwrap_or_default();
        let entries = events.iter().flat_map(|event| event.value.elements());
        let hooks = entries.flat_map(|entry| match entry.member("hooks") {
            Some(group) => group.elements(),
            None => std::slice::from_ref(entry),
        });
        let texts = hooks.map(|hook| &text[hook.start..hook.end]);
        texts
            .filter(|text| agent.is_own(text))
            .map(|text| agents::server(text).to_owned())
            .collect()
    });
    Some(Registered { path, hooks })
}

/// Whether two texts differ in nothing but white space; an empty file is an empty object.
fn same(one: &str, other: &str) -> bool {
    let essence = |text| Some(edit::essence(text)).filter(|text| !text.is_empty());
    essence(one).unwrap_or("{}".to_owned()) == essence(other).unwrap_or("{}".to_owned())
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all, with the permissions that `like` has.
fn write(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let mut file = fs::File::create(&new)?;
    let mode = fs::metadata(like).map_or(0o644, |metadata| metadata.permissions().mode());
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Where an agent's settings begin.
pub(super) fn root(scope: Scope) -> anyhow::Result<PathBuf> {
    match scope {
        Scope::Project => std::env::current_dir().context("the current directory"),
        Scope::User => std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .context("HOME is not set to a directory, so the user's settings cannot be found"),
    }
}

/// This program, as a shell finds it from anywhere.
fn program() -> anyhow::Result<String> {
    let path = std::env::current_exe().context("this program's path")?;
    let path = path.to_str().context("this program's path is not UTF-8")?.to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    Ok(if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) })
}
