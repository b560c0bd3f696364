//! Texts in the payloads of stored lines, for which agents have different names.

use serde_json::value::RawValue;

use crate::json::each_member;
use crate::json::text::unescape;

/// Paths to the working directory: most agents; `OpenHands`; Cline; Cursor; opencode; Windsurf.
pub(super) const CWD: &[&str] = &[
    "cwd",
    "working_dir",
    "workspaceRoots",
    "workspace_roots",
    "properties/info/directory",
    "tool_info/cwd",
];

/// Paths to the text of a prompt: most agents; `OpenHands`; Cline; opencode; Windsurf.
pub(super) const PROMPT: &[&str] = &[
    "prompt",
    "message",
    "userPromptSubmit/prompt",
    "properties/parts/text",
    "tool_info/user_prompt",
];

/// Returns the first text at one of these paths in the payload of a line: in `data`, or in `extra`.
pub(super) fn payload_text(line: &[u8], paths: &[&str]) -> Option<String> {
    let mut payloads = Vec::new();
    each_member(line, |member, value| {
        if member == "data" || member == "extra" {
            payloads.push(value);
        }
    });
    payloads.into_iter().find_map(|payload| paths.iter().find_map(|path| text_at(payload, path)))
}

/// Returns the text member of a line.
pub(super) fn member_text(line: &[u8], name: &str) -> Option<String> {
    text_at(std::str::from_utf8(line).ok()?, name)
}

/// Returns the text at a path such as `tool_info/cwd`. Of an array, the first element counts.
fn text_at(json: &str, path: &str) -> Option<String> {
    if json.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        return text_at(elements.first()?.get(), path);
    }
    if path.is_empty() {
        let text = json.starts_with('"').then(|| unescape(json).into_owned());
        return text.filter(|text| !text.is_empty());
    }
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let mut found = None;
    each_member(json.as_bytes(), |member, value| {
        if member == name {
            found = Some(value);
        }
    });
    text_at(found?, rest)
}
