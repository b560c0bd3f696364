//! `hooks-backend install` and `uninstall`: register hooks in an agent's settings file with the
//! smallest possible change, and restore the file byte for byte.

mod agents;
mod by_hand;
mod document;
mod obstacles;
mod plugin;
mod settings;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::client::{DEFAULT_URL, base_url};
use super::say;
use agents::Destination;
use document::Document;
use settings::{Settings, path_of};

pub(super) use agents::{Agent, SettingsScope};
pub(super) use obstacles::Obstacle;

/// Arguments of `install`.
#[derive(clap::Args, Debug)]
pub struct InstallArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Server URL, as the agent reaches it
    #[arg(long, env = "HOOKS_URL", value_name = "URL", default_value = DEFAULT_URL)]
    url: String,

    /// Let the agent send HTTP requests itself, instead of running 'emit' (Claude Code only): events are
    /// lost while the server is down, and a slow server delays the agent
    #[arg(long)]
    http: bool,

    /// The default
    #[arg(long, hide = true, conflicts_with = "http")]
    commands: bool,
}

/// An agent on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    ClaudeCode,
    Codex,
    Gemini,
    Cursor,
    Copilot,
    Qwen,
    Opencode,
    Cline,
    Openhands,
}

impl Name {
    /// The agent, if its hooks are in a settings file.
    fn agent(self) -> Option<Agent> {
        match self {
            Self::ClaudeCode => Some(Agent::ClaudeCode),
            Self::Codex => Some(Agent::Codex),
            Self::Gemini => Some(Agent::Gemini),
            Self::Cursor => Some(Agent::Cursor),
            Self::Copilot => Some(Agent::Copilot),
            Self::Qwen => Some(Agent::Qwen),
            Self::Opencode | Self::Cline | Self::Openhands => None,
        }
    }
}

/// The agents that `install` knows, for messages.
pub(super) fn names() -> String {
    let names = Name::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join("|")
}

/// Arguments of `uninstall`, also part of `install`.
#[derive(clap::Args, Debug)]
pub struct SettingsArgs {
    /// Agent to configure
    #[arg(value_enum)]
    agent: Name,

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
    fn scope(&self) -> SettingsScope {
        if self.project { SettingsScope::Project } else { SettingsScope::User }
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
    let program = program()?;
    let quoted = quoted_for_shell(&program);
    let SettingsArgs { agent, dry_run, .. } = args.settings;
    let scope = args.settings.scope();
    let Some(agent) = agent.agent() else {
        match agent {
            Name::Cline => by_hand::cline(&quoted, url),
            Name::Openhands => by_hand::openhands(&quoted, url),
            _ => {
                plugin::install(scope, &program, url, dry_run)?;
                say("next: restart opencode; 'hooks-backend doctor' checks the setup");
            }
        }
        return Ok(());
    };
    ensure!(
        !args.http || agent == Agent::ClaudeCode,
        "--http: only claude-code sends HTTP requests"
    );
    let settings = Settings::read(agent, scope)?;
    let to = Destination { url, program: &quoted, http: args.http, scope };
    let (text, hooks) = settings.with_hooks(&to)?;
    if settings.text.as_deref() == Some(&*text) {
        say(format_args!("{}: nothing to change, {hooks} hooks are registered", settings.show()));
        show_obstacles(agent, scope);
        return Ok(());
    }
    settings.show_change(&text);
    if dry_run {
        say(format_args!("{}: not changed (--dry-run)", settings.show()));
        return Ok(());
    }
    settings.back_up()?;
    settings.write(&text)?;
    say(format_args!("{}: {hooks} hooks are registered for {url}", settings.show()));
    if settings.backup.exists() {
        say(format_args!("{}: backup of the previous settings", settings.backup.display()));
    }
    let name = agent.name();
    let project = if args.settings.project { " --project" } else { "" };
    say(format_args!(
        "next: restart {name} and use it; 'hooks-backend doctor' checks the setup; \
         'hooks-backend uninstall {name}{project}' restores the settings"
    ));
    show_obstacles(agent, scope);
    Ok(())
}

/// Says why the agent would not run the hooks yet.
fn show_obstacles(agent: Agent, scope: SettingsScope) {
    let Some(registered) = registered(agent, scope) else { return };
    for Obstacle { problem, advice } in registered.obstacles {
        say(format_args!("  !!  {problem}\n      -> {advice}"));
    }
}

/// Removes the hooks.
///
/// # Errors
/// As [`install`].
pub(super) fn uninstall(args: &SettingsArgs) -> anyhow::Result<()> {
    let scope = args.scope();
    let Some(agent) = args.agent.agent() else {
        match args.agent {
            Name::Cline => {
                say("cline: the hooks were set up by hand; to remove them: rm -r ~/.cline/hooks");
            }
            Name::Openhands => {
                say(
                    "openhands: the hooks were set up by hand; to remove them: rm .openhands/hooks.json",
                );
            }
            _ => plugin::uninstall(scope, args.dry_run)?,
        }
        return Ok(());
    };
    let settings = Settings::read(agent, scope)?;
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
    /// The number of hooks that this version registers.
    pub(super) expected: usize,
    /// Why the agent does not run them.
    pub(super) obstacles: Vec<Obstacle>,
}

/// Returns the hooks registered in an agent's settings; `None` if there are none of ours.
pub(super) fn registered(agent: Agent, scope: SettingsScope) -> Option<Registered> {
    let path = path_of(agent, scope).ok()?;
    let text = fs::read_to_string(&path).ok().filter(|text| agent.is_own(text))?;
    let mut obstacles = Vec::new();
    let hooks = Document::parse(&text).map(|document| {
        let own: Vec<_> = document.hooks().filter(|hook| agent.is_own(hook.text)).collect();
        obstacles = obstacles::find(agent, scope, &path, &own);
        own.iter().map(|hook| agents::server(hook.text).to_owned()).collect()
    });
    Some(Registered { path, hooks, expected: agent.events().len(), obstacles })
}

/// True if hooks of ours are registered in an agent's settings.
pub(super) fn is_registered(agent: Agent, scope: SettingsScope) -> bool {
    let text = path_of(agent, scope).ok().and_then(|path| fs::read_to_string(path).ok());
    text.is_some_and(|text| agent.is_own(&text))
}

/// Returns the plugin for opencode and its server's URL, if it is installed.
pub(super) fn plugin(scope: SettingsScope) -> Option<(PathBuf, String)> {
    let path = plugin::path(scope).ok()?;
    let server = plugin::server(&path)?;
    Some((path, server))
}

/// Returns the path of this program: the one by which it was called, if that leads here. It stays the same
/// when a link leads to another version tomorrow, and agents ask for trust again when a command changes.
fn program() -> anyhow::Result<String> {
    let path = std::env::current_exe().context("cannot find the path of this program")?;
    let path = called_as().filter(|called| is_same_file(called, &path)).unwrap_or(path);
    Ok(path.to_str().context("the path of this program is not UTF-8")?.to_owned())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// Returns the path by which this program was called, found in `PATH` like a shell finds it.
fn called_as() -> Option<PathBuf> {
    let name = PathBuf::from(std::env::args_os().next()?);
    if name.components().count() > 1 {
        return std::path::absolute(name).ok();
    }
    let directories = std::env::var_os("PATH")?;
    let mut paths = std::env::split_paths(&directories).map(|directory| directory.join(&name));
    paths.find(|path| path.is_absolute() && path.is_file())
}

fn quoted_for_shell(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}
