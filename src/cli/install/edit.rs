//! Changes of a settings file as a person would make them: in the one place, in the file's own
//! indentation, with everything else left as it is.

use super::scan::{Kind, Value, scan, skip};

/// A hook to be registered: the event, and the JSON of the entry, indented by two spaces.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) event: &'static str,
    pub(super) json: String,
}

/// Adds entries under `hooks`, after what each event has already.
///
/// # Errors
/// If the text is not JSON, or `hooks` is not of the shape that the agents document.
pub(super) fn add(text: &str, entries: &[Entry]) -> Result<String, String> {
    let mut text = if text.trim().is_empty() { "{}\n".to_owned() } else { text.to_owned() };
    for entry in entries {
        let root = scan(&text)?;
        if root.member("hooks").is_none() {
            text = insert(&text, &root, "\"hooks\": {}");
        }
        let root = scan(&text)?;
        let hooks = root.member("hooks").ok_or("'hooks' is missing")?;
        if !matches!(hooks.kind, Kind::Object(_)) {
            return Err("'hooks' is not an object".to_owned());
        }
        if hooks.member(entry.event).is_none() {
            text = insert(&text, hooks, &format!("\"{}\": []", entry.event));
        }
        let root = scan(&text)?;
        let list = root.member("hooks").and_then(|hooks| hooks.member(entry.event));
        let list = list.filter(|list| matches!(list.kind, Kind::Array(_)));
        let list = list.ok_or_else(|| format!("'hooks.{}' is not an array", entry.event))?;
        text = insert(&text, list, &entry.json);
    }
    Ok(text)
}

/// Sets a member of the whole if it has none of that name.
pub(super) fn ensure(text: &str, key: &str, json: &str) -> Result<String, String> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let root = scan(text)?;
    match root.member(key) {
        Some(_) => Ok(text.to_owned()),
        None => Ok(insert(text, &root, &format!("\"{key}\": {json}"))),
    }
}

/// Takes out the entries that `own` recognises by their text, and what they leave empty, unless it
/// was there `before`.
///
/// # Errors
/// If a text is not JSON.
pub(super) fn remove(
    text: &str,
    before: Option<&str>,
    own: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let before = before.filter(|text| !text.trim().is_empty()).map(scan).transpose()?;
    let hooks_before = before.as_ref().and_then(|root| root.member("hooks"));
    let mut text = text.to_owned();
    // One change at a time, since each moves all that follows.
    while let Some(changed) = remove_one(&text, hooks_before, &own)? {
        text = changed;
    }
    Ok(text)
}

fn remove_one(
    text: &str,
    hooks_before: Option<&Value>,
    own: &impl Fn(&str) -> bool,
) -> Result<Option<String>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let root = scan(text)?;
    let Some(hooks) = root.member("hooks") else { return Ok(None) };
    let is_own = |value: &Value| own(&text[value.start..value.end]);
    for (at, event) in hooks.members().iter().enumerate() {
        for (number, entry) in event.value.elements().iter().enumerate().rev() {
            // An entry is a hook, or a group of them, to which others may have been added.
            let group = entry.member("hooks").map(Value::elements).unwrap_or_default();
            let mixed = group.iter().any(|hook| !is_own(hook));
            if !mixed && is_own(entry) {
                let removed = cut(text, &event.value, number);
                let was_there =
                    hooks_before.is_some_and(|hooks| hooks.member(&event.key).is_some());
                return Ok(Some(if event.value.elements().len() > 1 || was_there {
                    removed
                } else if hooks.members().len() > 1 || hooks_before.is_some() {
                    cut(text, hooks, at)
                } else {
                    let place = root.members().iter().rposition(|member| member.key == "hooks");
                    cut(text, &root, place.unwrap_or_default())
                }));
            }
            if let Some(hook) = group.iter().rposition(is_own)
                && let Some(list) = entry.member("hooks")
            {
                return Ok(Some(cut(text, list, hook)));
            }
        }
    }
    Ok(None)
}

/// The text without white space outside of strings: what is the same to every reader, comments too.
pub(super) fn essence(text: &str) -> String {
    let (mut essence, mut in_string, mut escaped) = (String::new(), false, false);
    for character in text.chars() {
        if in_string || !character.is_whitespace() {
            essence.push(character);
        }
        if character == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && character == '\\' && !escaped;
    }
    essence
}

/// Puts a member or element at a container's end. `item` is indented by two spaces.
fn insert(text: &str, container: &Value, item: &str) -> String {
    let items = container.items();
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let unit = unit(text);
    let outer = indentation(text, container.start);
    let one_line = match items.first() {
        Some(&(start, _)) => !text[container.start..start].contains('\n'),
        None => false,
    };
    let inner = match items.last() {
        Some(&(start, _)) if !one_line => indentation(text, start).to_owned(),
        _ => format!("{outer}{unit}"),
    };
    if one_line {
        let item: Vec<&str> = item.lines().map(str::trim).collect();
        return put(text, container, &items, " ", &item.join(" "), "");
    }
    let mut lines = item.lines();
    let mut shown = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let bare = line.trim_start_matches(' ');
        shown.push_str(newline);
        shown.push_str(&inner);
        shown.push_str(&unit.repeat((line.len() - bare.len()) / 2));
        shown.push_str(bare);
    }
    put(text, container, &items, &format!("{newline}{inner}"), &shown, &format!("{newline}{outer}"))
}

/// Puts text after the last item, or into an empty container.
fn put(
    text: &str,
    container: &Value,
    items: &[(usize, usize)],
    before: &str,
    item: &str,
    close: &str,
) -> String {
    let Some(&(_, end)) = items.last() else {
        let inside = container.start + 1;
        let rest = &text[inside..];
        // Only white space is replaced; a comment stays, after what is new.
        let close = if rest[..container.end - inside - 1].trim().is_empty() { close } else { "" };
        let rest = if close.is_empty() { rest } else { &text[container.end - 1..] };
        return format!("{}{before}{item}{close}{rest}", &text[..inside]);
    };
    let comma = skip(text, end);
    if text[comma..].starts_with(',') {
        return format!("{}{before}{item},{}", &text[..=comma], &text[comma + 1..]);
    }
    format!("{},{before}{item}{}", &text[..end], &text[end..])
}

/// Takes out an item with its comma and the white space before it.
fn cut(text: &str, container: &Value, at: usize) -> String {
    let items = container.items();
    let (start, end) = items[at];
    let blank_from = text[..start].trim_end().len();
    let after = skip(text, end);
    let has_comma = text[after..].starts_with(',');
    if items.len() == 1 {
        let rest = if has_comma { after + 1 } else { end };
        let rest = &text[rest..];
        let closes = rest.trim_start().starts_with(['}', ']']);
        let rest = if closes { rest.trim_start() } else { rest };
        return format!("{}{rest}", &text[..blank_from]);
    }
    if has_comma {
        return format!("{}{}{}", &text[..blank_from], &text[end..after], &text[after + 1..]);
    }
    // The last one: the comma is before it.
    let comma = skip(text, items[at - 1].1);
    format!("{}{}{}", &text[..comma], &text[comma + 1..blank_from], &text[end..])
}

/// The white space at the beginning of the line.
fn indentation(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// One step of indentation, as the first line that is indented has it.
fn unit(text: &str) -> &str {
    let indented =
        text.lines().find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
    indented.map_or("  ", |line| &line[..line.len() - line.trim_start().len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "{\n  \"command\": \"ours\"\n}";

    fn entries() -> Vec<Entry> {
        ["Stop", "PreToolUse"].map(|event| Entry { event, json: OURS.to_owned() }).to_vec()
    }

    fn own(text: &str) -> bool {
        text.contains("\"ours\"")
    }

    #[test]
    fn what_was_added_can_be_taken_out_again() {
        for before in [
            "{}",
            "{\n}\n",
            "{\"hooks\":{}}",
            "{ \"model\": \"opus\" }",
            "{\n  \"hooks\": {\n    \"Stop\": []\n  }\n}\n",
            "{\n\t\"a\": 1, // why\n\t\"hooks\": {\n\t\t\"Stop\": [\n\t\t\t{\"command\": \"theirs\"}, /* c */\n\t\t],\n\t},\n}\n",
            "{\r\n    \"a\": [1, 2],\r\n    \"hooks\": {\r\n        \"PreToolUse\": [{\"x\": \"}\\\"]\"}]\r\n    }\r\n}\r\n",
            "{\"hooks\":{\"Stop\":[{\"command\":\"theirs\"}],\"Other\":[]},\"z\":{}}",
            "// settings\n{\n  // nothing yet\n}\n",
        ] {
            let after = add(before, &entries()).expect("added");
            assert_eq!(after.matches("\"ours\"").count(), 2, "{after}");
            scan(&after).expect("JSON");
            let removed = remove(&after, Some(before), own).expect("removed");
            assert_eq!(essence(&removed), essence(before), "{after}");
        }
    }

    #[test]
    fn a_group_keeps_what_others_added_to_it() {
        let text = r#"{"hooks":{"Stop":[{"matcher":"*","hooks":[{"command":"ours"},{"command":"theirs"}]}]}}"#;
        let removed = remove(text, None, own).expect("removed");
        assert_eq!(
            removed,
            r#"{"hooks":{"Stop":[{"matcher":"*","hooks":[{"command":"theirs"}]}]}}"#
        );
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_line() {
        for (text, words) in [
            ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 3: a ',' or '}' is missing"),
            ("[]", "not a JSON object"),
            ("{\"a\": tru}", "line 1"),
            ("{\"hooks\": []}", "'hooks' is not an object"),
            ("{\"hooks\": {\"Stop\": {}}}", "'hooks.Stop' is not an array"),
        ] {
            let error = add(text, &entries()).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }
}
