//! Reasons why an agent does not run hooks that are registered, as far as files and the environment show
//! them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Table;

use super::agents::{Agent, SettingsScope};
use super::document::{Document, RegisteredHook};
use super::settings::{path_of, root};
use super::trust::{self, Trust};

/// A problem, and what the user can do about it.
#[derive(Debug)]
pub(in crate::cli) struct Obstacle {
    pub(in crate::cli) problem: String,
    pub(in crate::cli) advice: String,
}

impl Obstacle {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }
}

/// How to make Codex run the hooks.
pub(super) const TRUST_ADVICE: &str = "start codex; at 'Hooks need review' choose 'Trust all and continue' (later: /hooks). For 'codex \
     exec' in scripts where nobody can answer: --dangerously-bypass-hook-trust";

/// Returns the obstacles for the hooks of an agent in a settings file. `own` are our hooks in it.
pub(super) fn find(
    agent: Agent,
    scope: SettingsScope,
    path: &Path,
    own: &[RegisteredHook<'_>],
) -> Vec<Obstacle> {
    let mut found = match agent {
        Agent::ClaudeCode => claude_code(own),
        Agent::Codex => codex(scope, path, own),
        Agent::Copilot => copilot(scope),
        Agent::Gemini => gemini(),
        Agent::Qwen => disabled_in(settings_files(agent)),
        Agent::Cursor => Vec::new(),
    };
    found.extend(missing_program(own));
    found
}

/// The program of our commands is gone, after an update or a move.
fn missing_program(own: &[RegisteredHook<'_>]) -> Option<Obstacle> {
    let program = own.iter().find_map(|hook| {
        let hook: Value = serde_json::from_str(hook.text).ok()?;
        let command = hook["command"].as_str().or_else(|| hook["bash"].as_str())?;
        let (program, _) = command.split_once(" emit --agent ")?;
        let plain = program.trim_matches('\'').replace("'\\''", "'");
        (!Path::new(&plain).exists()).then_some(plain)
    })?;
    Some(Obstacle::new(
        format!("the hooks run {program}, which does not exist"),
        "run 'hooks-backend install' again with the program at its new place",
    ))
}

/// The settings files of an agent in which hooks can be disabled.
fn settings_files(agent: Agent) -> Vec<PathBuf> {
    let of = |scope| path_of(agent, scope).ok();
    let mut files: Vec<PathBuf> =
        [SettingsScope::User, SettingsScope::Project].into_iter().filter_map(of).collect();
    if agent == Agent::ClaudeCode {
        files.extend(
            of(SettingsScope::Project).map(|path| path.with_file_name("settings.local.json")),
        );
    }
    // In the home directory, both scopes have the same file.
    files.dedup();
    files
}

/// The settings that administrators of the machine give Claude Code.
fn managed_files(directory: &Path) -> Vec<PathBuf> {
    let more = fs::read_dir(directory.join("managed-settings.d")).into_iter().flatten().flatten();
    let more = more.map(|entry| entry.path());
    let more = more.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    std::iter::once(directory.join("managed-settings.json")).chain(more).collect()
}

fn managed_directory() -> PathBuf {
    PathBuf::from(if cfg!(target_os = "macos") {
        "/Library/Application Support/ClaudeCode"
    } else {
        "/etc/claude-code"
    })
}

/// True if a settings file has a top-level member that is `true`.
fn is_set(path: &Path, member: &str) -> bool {
    let Ok(text) = fs::read_to_string(path) else { return false };
    Document::parse(&text).is_ok_and(|document| document.member(member) == Some("true"))
}

fn disabled_in(files: Vec<PathBuf>) -> Vec<Obstacle> {
    let files = files.into_iter().filter(|path| is_set(path, "disableAllHooks"));
    files
        .map(|path| {
            Obstacle::new(
                format!(
                    "all hooks are disabled by \"disableAllHooks\": true in {}",
                    path.display()
                ),
                "remove that line; until then, no event is stored",
            )
        })
        .collect()
}

fn claude_code(own: &[RegisteredHook<'_>]) -> Vec<Obstacle> {
    let managed = managed_files(&managed_directory());
    let mut found = managed_only(&managed);
    found.extend(disabled_in(
        settings_files(Agent::ClaudeCode).into_iter().chain(managed).collect(),
    ));
    found.extend(proxy(own));
    found
}

fn managed_only(managed: &[PathBuf]) -> Vec<Obstacle> {
    let files = managed.iter().filter(|path| is_set(path, "allowManagedHooksOnly"));
    files
        .map(|path| {
            Obstacle::new(
                format!(
                    "only hooks of the administrator run (allowManagedHooksOnly in {})",
                    path.display()
                ),
                "ask the administrator to add the hooks to the managed settings",
            )
        })
        .collect()
}

/// Claude Code sends HTTP hooks through a proxy, also those to this machine.
fn proxy(own: &[RegisteredHook<'_>]) -> Option<Obstacle> {
    let server = own.iter().find_map(|hook| {
        let hook: Value = serde_json::from_str(hook.text).ok()?;
        Some(hook["url"].as_str()?.to_owned())
    })?;
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let names: &[&str] = if server.starts_with("https:") {
        &["https_proxy", "HTTPS_PROXY"]
    } else {
        &["http_proxy", "HTTP_PROXY"]
    };
    let variable = names.iter().find(|name| set(name).is_some())?;
    let host = server.split("://").nth(1)?.split(['/', ':', '?']).next()?;
    let exempt = set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default();
    if exempt.split([',', ' ']).any(|entry| entry == "*" || entry == host) {
        return None;
    }
    Some(Obstacle::new(
        format!("claude-code sends its HTTP hooks through the proxy in {variable}, also to {host}"),
        format!("add {host} to NO_PROXY, or register commands: hooks-backend install claude-code"),
    ))
}

fn codex(scope: SettingsScope, path: &Path, own: &[RegisteredHook<'_>]) -> Vec<Obstacle> {
    let Ok(hooks_json) = path_of(Agent::Codex, SettingsScope::User) else { return Vec::new() };
    let config_path = hooks_json.with_file_name("config.toml");
    let config = match fs::read_to_string(&config_path) {
        Ok(text) => text.parse::<Table>(),
        Err(_) => Ok(Table::new()),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let line = error.message().lines().next().unwrap_or_default().to_owned();
            let problem =
                format!("cannot tell which hooks Codex trusts: {}: {line}", config_path.display());
            return vec![Obstacle::new(
                problem,
                "correct the file: Codex may not understand it either",
            )];
        }
    };
    let mut found = Vec::new();
    let feature = |name: &str| config.get("features")?.get(name)?.as_bool();
    if feature("hooks").or_else(|| feature("codex_hooks")) == Some(false) {
        found.push(Obstacle::new(
            format!("hooks are turned off in {} ([features] hooks = false)", config_path.display()),
            "remove that line",
        ));
    }
    if scope == SettingsScope::Project && !is_trusted_project(&config) {
        found.push(Obstacle::new(
            "Codex runs no hooks of this project: its directory is not trusted",
            "start codex in it once, and trust the folder",
        ));
    }
    found.extend(untrusted(path, own, &config));
    found
}

/// True if Codex trusts the current directory or one above it.
fn is_trusted_project(config: &Table) -> bool {
    let Ok(directory) = root(SettingsScope::Project) else { return true };
    directory.ancestors().any(|directory| {
        let project = config.get("projects").and_then(|all| all.get(directory.to_str()?));
        project.and_then(|project| project.get("trust_level")?.as_str()) == Some("trusted")
    })
}

/// Counts the hooks that Codex skips.
fn untrusted(path: &Path, own: &[RegisteredHook<'_>], config: &Table) -> Option<Obstacle> {
    // Codex names the file as it was found, perhaps by way of a link.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let of = |hook: &RegisteredHook<'_>| match trust::of(hook, path, config) {
        Trust::Untrusted => trust::of(hook, &real, config),
        trust => trust,
    };
    let all: Vec<Trust> = own.iter().map(of).collect();
    let count = |wanted: Trust| all.iter().filter(|trust| **trust == wanted).count();
    let parts = [
        (count(Trust::Untrusted), "not trusted"),
        (count(Trust::Changed), "changed since they were trusted"),
        (count(Trust::Disabled), "turned off"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    let skipped = all.len() - count(Trust::Trusted);
    (skipped > 0).then(|| {
        let parts = parts.join(", ");
        Obstacle::new(
            format!("Codex skips {skipped} of {} hooks: {parts}", all.len()),
            TRUST_ADVICE,
        )
    })
}

fn copilot(scope: SettingsScope) -> Vec<Obstacle> {
    let Ok(hooks) = path_of(Agent::Copilot, SettingsScope::User) else { return Vec::new() };
    let Some(home) = hooks.parent().and_then(Path::parent) else { return Vec::new() };
    let config = home.join("config.json");
    let mut files = vec![home.join("settings.json"), config.clone()];
    files.extend(
        root(SettingsScope::Project).map(|project| project.join(".github/copilot/settings.json")),
    );
    let mut found = disabled_in(files);
    if scope == SettingsScope::Project && !is_trusted_folder(&config) {
        found.push(Obstacle::new(
            "Copilot runs no hooks of this project: its folder is not trusted",
            "start copilot in it once and trust the folder for future sessions; in scripts: --trust-folder",
        ));
    }
    found
}

/// True if Copilot trusts the current directory or one above it.
fn is_trusted_folder(config: &Path) -> bool {
    let Ok(text) = fs::read_to_string(config) else { return false };
    let Ok(document) = Document::parse(&text) else { return false };
    let folders = ["trustedFolders", "trusted_folders"].into_iter();
    let folders = folders.filter_map(|name| document.member(name));
    let mut folders =
        folders.flat_map(|list| serde_json::from_str::<Vec<String>>(list).unwrap_or_default());
    let Ok(directory) = root(SettingsScope::Project) else { return true };
    folders.any(|folder| directory.starts_with(folder))
}

fn gemini() -> Vec<Obstacle> {
    let off = |path: &PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let config = Document::parse(&text).ok()?.member("hooksConfig")?.to_owned();
        let config = Document::parse(&config).ok()?.member("enabled")? == "false";
        config.then(|| path.display().to_string())
    };
    let files = settings_files(Agent::Gemini);
    let files = files.iter().filter_map(off);
    files
        .map(|path| {
            let problem = format!("all hooks are disabled by hooksConfig.enabled in {path}");
            Obstacle::new(problem, "remove that line; until then, no event is stored")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_settings_can_disable_hooks() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert!(disabled_in(managed_files(path)).is_empty());
        fs::write(path.join("managed-settings.json"), "{\"disableAllHooks\": true}")
            .expect("written");
        fs::create_dir(path.join("managed-settings.d")).expect("a directory");
        let part = path.join("managed-settings.d/10-hooks.json");
        fs::write(part, "{\"allowManagedHooksOnly\": true}").expect("written");
        let found = disabled_in(managed_files(path));
        assert!(
            found.len() == 1 && found[0].problem.contains("managed-settings.json"),
            "{found:?}"
        );
        let found = managed_only(&managed_files(path));
        assert!(found.len() == 1 && found[0].problem.contains("10-hooks.json"), "{found:?}");
    }
}
