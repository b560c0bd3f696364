//! Which hooks Codex runs: only those whose definition the user has trusted, as a hash in `config.toml`.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::document::RegisteredHook;

/// What Codex does with a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Trusted,
    /// Skipped: nobody has trusted it.
    Untrusted,
    /// Skipped: it was trusted with another command, time-out or position in the file.
    Changed,
    /// Skipped: the user has turned it off.
    Disabled,
}

/// Returns what Codex does with a hook in the file at `path`, by its settings.
pub(super) fn of(hook: &RegisteredHook<'_>, path: &Path, config: &toml::Table) -> Trust {
    let event = snake_case(hook.event);
    let key = format!("{}:{event}:{}:{}", path.display(), hook.group_at, hook.at);
    let state = config.get("hooks").and_then(|hooks| hooks.get("state")?.get(key));
    let Some(state) = state else { return Trust::Untrusted };
    if state.get("enabled").and_then(toml::Value::as_bool) == Some(false) {
        return Trust::Disabled;
    }
    match state.get("trusted_hash").and_then(toml::Value::as_str) {
        None => Trust::Untrusted,
        Some(hash) if hash_of(&event, hook).as_deref() == Some(hash) => Trust::Trusted,
        Some(_) => Trust::Changed,
    }
}

/// Returns Codex's hash of a hook: SHA-256 of its normal form, JSON without white space whose members are
/// sorted by name.
fn hash_of(event: &str, hook: &RegisteredHook<'_>) -> Option<String> {
    let group: Value = serde_json::from_str(hook.group).ok()?;
    let hook: Value = serde_json::from_str(hook.text).ok()?;
    // `serde_json` sorts the members.
    let mut normal = json!({
        "event_name": event,
        "hooks": [{
            "async": hook["async"].as_bool().unwrap_or(false),
            "command": hook["command"],
            "timeout": hook["timeout"],
            "type": "command",
        }],
    });
    if let Some(matcher) = group.get("matcher") {
        normal["matcher"] = matcher.clone();
    }
    let hash = Sha256::digest(normal.to_string());
    Some(format!("sha256:{}", data_encoding::HEXLOWER.encode(&hash)))
}

/// Returns the event's name as in the keys: `PreToolUse` is `pre_tool_use`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes are those that Codex 0.169.0 wrote when it was told to trust these hooks.
    #[test]
    fn hashes_are_those_of_codex() {
        let text = r#"{"type": "command", "timeout": 4,
            "command": "/tmp/hb-i2-old emit --agent codex --url http://127.0.0.1:8080"}"#;
        let with_matcher = format!(r#"{{"matcher": "*", "hooks": [{text}]}}"#);
        let group = format!(r#"{{"hooks": [{text}]}}"#);
        for (event, group, hash) in [
            (
                "SessionStart",
                &group,
                "a65bad359d5bb75b485b1621be1d95cbf7af56c67d55f7013cb4f446c217886e",
            ),
            (
                "PreToolUse",
                &with_matcher,
                "1bdd78beb1fb4ec4214189698616ae61e1e0aa0e036d7826724bdf2e5ad72d5d",
            ),
        ] {
            let hook = RegisteredHook { event, group_at: 0, at: 0, group, text };
            let path = Path::new("/home/you/.codex/hooks.json");
            let key = format!("{}:{}:0:0", path.display(), snake_case(event));
            let trusted = |hash: &str| -> toml::Table {
                let text = format!("[hooks.state.\"{key}\"]\ntrusted_hash = \"sha256:{hash}\"\n");
                text.parse().expect("TOML")
            };
            assert_eq!(of(&hook, path, &trusted(hash)), Trust::Trusted);
            assert_eq!(of(&hook, path, &trusted("00")), Trust::Changed);
            assert_eq!(of(&hook, path, &toml::Table::new()), Trust::Untrusted);
            let off = format!("[hooks.state]\n\"{key}\" = {{ enabled = false }}\n");
            assert_eq!(of(&hook, path, &off.parse().expect("TOML")), Trust::Disabled);
        }
    }
}
