//! `hooks-backend install` and `uninstall`: register hooks in an agent's settings file with the
//! smallest possible change, and restore the file byte for byte.

mod agents;
mod document;
mod settings;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::client::{DEFAULT_URL, base_url};
use super::say;
use agents::Destination;
use document::Document;
use settings::{Settings, root};

pub(super) use agents::{Agent, Scope};

/// Arguments of `install`.
#[derive(clap::Args, Debug)]
pub struct InstallArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Server URL, as the agent reaches it
    #[arg(long, env = "HOOKS_URL", value_name = "URL", default_value = DEFAULT_URL)]
    url: String,

    /// Register commands (emit) even where the agent can send HTTP requests (Claude Code): slower, but
    /// events are kept while the server is down
    #[arg(long)]
    commands: bool,
}

/// Arguments of `uninstall`, also part of `install`.
#[derive(clap::Args, Debug)]
pub struct SettingsArgs {
    /// Agent to configure
    #[arg(value_enum)]
    agent: Agent,

    /// Edit the user's settings (the default)
    #[arg(long, conflicts_with = "project")]
    user: bool,

    /// Edit the settings of the project in the current directory
    #[arg(long)]
    project: bool,

    /// Show the change without writing it
    #[arg(long)]
    dry_run: bool,
}

impl SettingsArgs {
    fn read(&self) -> anyhow::Result<Settings> {
        Settings::read(self.agent, if self.project { Scope::Project } else { Scope::User })
    }
}

/// Registers the hooks.
///
/// # Errors
/// If the settings cannot be read, parsed or written.
pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let url = base_url(&args.url);
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    let quotable = !url.contains(|c: char| c.is_whitespace() || "'\"\\$`;&|<>()?#".contains(c));
    ensure!(
        is_url && quotable,
        "{url:?} is not a server URL: it must be like http://127.0.0.1:8080"
    );
    let settings = args.settings.read()?;
    let to = Destination { url, program: &program()?, commands_only: args.commands };
    let (text, hooks) = settings.with_hooks(&to)?;
    if settings.text.as_deref() == Some(&*text) {
        say(format_args!("{}: nothing to change, {hooks} hooks are registered", settings.show()));
        return Ok(());
    }
    settings.show_change(&text);
    if args.settings.dry_run {
        say(format_args!("{}: not changed (--dry-run)", settings.show()));
        return Ok(());
    }
    settings.back_up()?;
    settings.write(&text)?;
    say(format_args!("{}: {hooks} hooks are registered for {url}", settings.show()));
    if settings.backup.exists() {
        say(format_args!("{}: backup of the previous settings", settings.backup.display()));
    }
    let name = args.settings.agent.name();
    let project = if args.settings.project { " --project" } else { "" };
    say(format_args!(
        "next: restart {name} and use it; 'hooks-backend doctor' checks the setup; \
         'hooks-backend uninstall {name}{project}' restores the settings"
    ));
    Ok(())
}

/// Removes the hooks.
///
/// # Errors
/// As [`install`].
pub(super) fn uninstall(args: &SettingsArgs) -> anyhow::Result<()> {
    let settings = args.read()?;
    let Some(before) = &settings.text else {
        say(format_args!("{}: does not exist, nothing to remove", settings.show()));
        return Ok(());
    };
    let text = settings.without_hooks()?;
    if *before == text {
        say(format_args!("{}: no hooks of hooks-backend, nothing to remove", settings.show()));
        return Ok(());
    }
    settings.show_change(&text);
    if args.dry_run {
        say(format_args!("{}: not changed (--dry-run)", settings.show()));
        return Ok(());
    }
    if settings.can_be_deleted(&text) {
        settings.delete()?;
        say(format_args!("{}: deleted, it had no other content", settings.show()));
        return Ok(());
    }
    settings.write(&text)?;
    settings.delete_backup()?;
    say(format_args!("{}: hooks removed, everything else unchanged", settings.show()));
    Ok(())
}

/// The hooks of ours in a settings file.
pub(super) struct Registered {
    pub(super) path: PathBuf,
    /// The server URL of each hook, or the reason why the file cannot be parsed.
    pub(super) hooks: Result<Vec<String>, String>,
}

/// Returns the hooks registered in an agent's settings; `None` if there are none of ours.
pub(super) fn registered(agent: Agent, scope: Scope) -> Option<Registered> {
    let path = root(scope).ok()?.join(agent.file(scope));
    let text = fs::read_to_string(&path).ok().filter(|text| agent.is_own(text))?;
    let hooks = Document::parse(&text).map(|document| {
        let own = document.hook_texts().filter(|text| agent.is_own(text));
        own.map(|text| agents::server(text).to_owned()).collect()
    });
    Some(Registered { path, hooks })
}

/// The path of this program, quoted for a shell where necessary.
fn program() -> anyhow::Result<String> {
    let path = std::env::current_exe().context("cannot find the path of this program")?;
    let path = path.to_str().context("the path of this program is not UTF-8")?.to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    Ok(if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) })
}
