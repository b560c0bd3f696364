//! A settings file as a JSON document with comments and trailing commas. Edits keep every byte outside
//! the edited entries.
//!
//! Entries are added with the syntax tree of `jsonc_parser`. They are removed by their ranges in the
//! text, because the tree also removes comments on the same line, which may not be ours.

use std::ops::Range;

use jsonc_parser::ast::{Array, Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use jsonc_parser::errors::ParseError;
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

/// JSON with comments and trailing commas, and no other extension.
const SYNTAX: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// An entry to register: an element of the array `hooks.<event>`.
#[derive(Clone, Debug)]
pub(super) struct HookEntry {
    pub(super) event: &'static str,
    pub(super) value: CstInputValue,
}

/// Sets a top-level member unless it exists.
///
/// # Errors
/// If the text is not a JSON object.
pub(super) fn set_default(text: &str, key: &str, value: CstInputValue) -> Result<String, String> {
    edit(text, |root| {
        if last_member(root, key).is_none() {
            root.append(key, value);
        }
        Ok(())
    })
}

/// Appends the entries to the arrays of their events.
///
/// # Errors
/// If the text is not a JSON object, or if `hooks` or an event in it has the wrong type.
pub(super) fn add(text: &str, entries: Vec<HookEntry>) -> Result<String, String> {
    edit(text, |root| {
        let hooks = last_member(root, "hooks")
            .unwrap_or_else(|| root.append("hooks", CstInputValue::Object(Vec::new())));
        let hooks = hooks.object_value().ok_or("'hooks' is not an object")?;
        for HookEntry { event, value } in entries {
            let list = last_member(&hooks, event)
                .unwrap_or_else(|| hooks.append(event, CstInputValue::Array(Vec::new())));
            let list = list.array_value();
            let list = list.ok_or_else(|| format!("'hooks.{event}' is not an array"))?;
            if !list.elements().is_empty() {
                list.ensure_multiline();
            }
            list.append(value);
        }
        Ok(())
    })
}

/// Changes the syntax tree of a document; an empty one becomes an empty object first.
fn edit(
    text: &str,
    change: impl FnOnce(&CstObject) -> Result<(), String>,
) -> Result<String, String> {
    let (byte_order_mark, text) = split_byte_order_mark(text);
    let tree = CstRootNode::parse(text, &SYNTAX).map_err(|error| describe(&error))?;
    change(&tree.object_value_or_create().ok_or(NOT_AN_OBJECT)?)?;
    Ok(format!("{byte_order_mark}{tree}"))
}

/// The member of an object; of equal names the last one counts, as in every JSON parser.
fn last_member(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    let members = object.properties().into_iter();
    members.rev().find(|member| member.decoded_name().as_deref() == Some(name))
}

/// A hook in a document.
pub(super) struct RegisteredHook<'d> {
    pub(super) event: &'d str,
    /// Position of the entry in the array of the event.
    pub(super) group_at: usize,
    /// Position of the hook in the entry.
    pub(super) at: usize,
    /// The text of the entry; that of the hook if the entry is no group.
    pub(super) group: &'d str,
    pub(super) text: &'d str,
}

/// A parsed document.
pub(super) struct Document<'t> {
    byte_order_mark: &'t str,
    /// The text after the byte order mark.
    text: &'t str,
    /// `None` if the text has no value.
    root: Option<Object<'t>>,
    /// All tokens, including comments.
    tokens: Vec<TokenAndRange<'t>>,
}

impl<'t> Document<'t> {
    /// # Errors
    /// If the text is not JSON with comments (with line and column), or not an object.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let (byte_order_mark, text) = split_byte_order_mark(text);
        let collect =
            CollectOptions { comments: CommentCollectionStrategy::AsTokens, tokens: true };
        let parsed = parse_to_ast(text, &collect, &SYNTAX).map_err(|error| describe(&error))?;
        let root = match parsed.value {
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err(NOT_AN_OBJECT.to_owned()),
            None => None,
        };
        Ok(Self { byte_order_mark, text, root, tokens: parsed.tokens.unwrap_or_default() })
    }

    /// Returns the text without the hooks whose text satisfies `is_own`, and without the arrays and
    /// objects that become empty, except those that `before` has.
    pub(super) fn without_hooks(
        &self,
        before: Option<&Self>,
        is_own: impl Fn(&str) -> bool,
    ) -> String {
        let mut cuts = Vec::new();
        if let (Some(root), Some(events)) = (&self.root, self.events()) {
            let events_before = before.and_then(Self::events);
            let removed: Vec<bool> = events
                .iter()
                .map(|event| {
                    let was_there = events_before.is_some_and(|before| {
                        before.iter().any(|other| other.name.as_str() == event.name.as_str())
                    });
                    self.cut_hooks(event, !was_there, &is_own, &mut cuts)
                })
                .collect();
            if events_before.is_none() && removed.contains(&true) && !removed.contains(&false) {
                let last = root.properties.iter().rposition(is_hooks);
                let members = root.properties.iter().enumerate();
                self.cut(members.map(|(at, member)| (member.range(), Some(at) == last)), &mut cuts);
            } else {
                self.cut(events.iter().map(Ranged::range).zip(removed), &mut cuts);
            }
        }
        cuts.sort_unstable_by_key(|cut| cut.start);
        let mut left = self.byte_order_mark.to_owned();
        let mut at = 0;
        for cut in cuts {
            left.push_str(self.text.get(at..cut.start).unwrap_or_default());
            at = at.max(cut.end);
        }
        left + &self.text[at..]
    }

    /// Cuts our hooks out of an event's array. Returns true if the event shall be cut as a whole,
    /// which `can_be_cut` permits.
    fn cut_hooks(
        &self,
        event: &ObjectProp,
        can_be_cut: bool,
        is_own: impl Fn(&str) -> bool,
        cuts: &mut Vec<Range<usize>>,
    ) -> bool {
        let is_own = |value: &Value| is_own(value.text(self.text));
        let Value::Array(Array { elements: entries, .. }) = &event.value else { return false };
        let own = entries.iter().map(|entry| {
            is_own(entry) && group(entry).is_none_or(|hooks| hooks.iter().all(is_own))
        });
        let own: Vec<bool> = own.collect();
        if can_be_cut && own.contains(&true) && !own.contains(&false) {
            return true;
        }
        for (entry, is_removed) in entries.iter().zip(&own) {
            // Hooks that others added to our group stay.
            if let (false, Some(hooks)) = (is_removed, group(entry)) {
                self.cut(hooks.iter().map(|hook| (hook.range(), is_own(hook))), cuts);
            }
        }
        self.cut(entries.iter().map(Ranged::range).zip(own), cuts);
        false
    }

    /// Cuts the marked members or elements of an object or array, each with the white space before it
    /// and one comma. Comments stay.
    fn cut(
        &self,
        items: impl Iterator<Item = (jsonc_parser::common::Range, bool)>,
        cuts: &mut Vec<Range<usize>>,
    ) {
        let mut kept_comma = None;
        for (range, is_cut) in items {
            let comma = self.comma_after(range.end);
            if !is_cut {
                kept_comma = comma;
                continue;
            }
            let before = self.tokens.partition_point(|token| token.range.end <= range.start);
            let start = match before.checked_sub(1).map(|before| &self.tokens[before]) {
                // A line comment needs its line break.
                Some(TokenAndRange { token: Token::CommentLine(_), .. }) | None => range.start,
                Some(token) => token.range.end,
            };
            cuts.push(start..range.end);
            // Without a comma it is the last item: the comma before it goes.
            cuts.extend(comma.or_else(|| kept_comma.take()));
        }
    }

    /// The comma that follows a member or element.
    fn comma_after(&self, end: usize) -> Option<Range<usize>> {
        let after = self.tokens.partition_point(|token| token.range.start < end);
        let mut tokens = self.tokens[after..].iter().filter(|token| !is_comment(&token.token));
        let token = tokens.next().filter(|token| matches!(token.token, Token::Comma))?;
        Some(token.range.start..token.range.end)
    }

    /// The hooks in `hooks`.
    pub(super) fn hooks(&self) -> impl Iterator<Item = RegisteredHook<'_>> {
        let events = self.events().unwrap_or_default().iter();
        events.filter_map(|event| Some((event.name.as_str(), event.value.as_array()?))).flat_map(
            move |(event, list)| {
                list.elements.iter().enumerate().flat_map(move |(group_at, entry)| {
                    let hooks = group(entry).unwrap_or(std::slice::from_ref(entry));
                    hooks.iter().enumerate().map(move |(at, hook)| RegisteredHook {
                        event,
                        group_at,
                        at,
                        group: entry.text(self.text),
                        text: hook.text(self.text),
                    })
                })
            },
        )
    }

    /// The value of a top-level member, as text.
    pub(super) fn member(&self, name: &str) -> Option<&'t str> {
        let members = &self.root.as_ref()?.properties;
        let member = members.iter().rfind(|member| member.name.as_str() == name)?;
        Some(member.value.text(self.text))
    }

    /// True if both documents differ at most in white space and optional commas. Comments count.
    pub(super) fn is_same(&self, other: &Document) -> bool {
        self.essence() == other.essence()
    }

    /// True if the document is an empty object, apart from `version` if `has_version`.
    pub(super) fn is_empty(&self, has_version: bool) -> bool {
        let essence = self.essence().concat();
        essence == "{}" || has_version && essence == "{\"version\":1}"
    }

    /// Every token except commas. A document without a value equals an empty object.
    fn essence(&self) -> Vec<&str> {
        let tokens = self.tokens.iter().filter(|token| !matches!(token.token, Token::Comma));
        let texts = tokens.map(|token| token.text(self.text));
        let empty_object: &[&str] = if self.root.is_none() { &["{", "}"] } else { &[] };
        texts.chain(empty_object.iter().copied()).collect()
    }

    /// The members of `hooks`; of equal names the last one counts.
    fn events(&self) -> Option<&[ObjectProp<'t>]> {
        let hooks = self.root.as_ref()?.properties.iter().rfind(|member| is_hooks(member))?;
        hooks.value.as_object().map(|hooks| hooks.properties.as_slice())
    }
}

const NOT_AN_OBJECT: &str = "not a JSON object";
const BYTE_ORDER_MARK: &str = "\u{feff}";

fn split_byte_order_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 })
}

fn describe(error: &ParseError) -> String {
    let reason = error.kind().to_string();
    let (first, rest) = reason.split_at_checked(1).unwrap_or_default();
    let (line, column) = (error.line_display(), error.column_display());
    format!("line {line}, column {column}: {}{rest}", first.to_ascii_lowercase())
}

fn is_hooks(member: &ObjectProp) -> bool {
    member.name.as_str() == "hooks"
}

fn is_comment(token: &Token) -> bool {
    matches!(token, Token::CommentLine(_) | Token::CommentBlock(_))
}

/// The hooks of a matcher group; `None` if the entry is a hook itself.
fn group<'v, 't>(entry: &'v Value<'t>) -> Option<&'v [Value<'t>]> {
    let hooks = entry.as_object()?.properties.iter().rfind(|member| is_hooks(member))?;
    hooks.value.as_array().map(|hooks| hooks.elements.as_slice())
}

#[cfg(test)]
mod tests {
    use jsonc_parser::json;

    use super::*;

    fn entries() -> Vec<HookEntry> {
        ["Stop", "PreToolUse"]
            .map(|event| HookEntry { event, value: json!({ "command": "ours" }) })
            .to_vec()
    }

    fn is_own(text: &str) -> bool {
        text.contains("\"ours\"")
    }

    fn parse(text: &str) -> Document<'_> {
        Document::parse(text).expect(text)
    }

    #[test]
    fn added_entries_can_be_removed() {
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
            let after = add(before, entries()).expect("added");
            assert_eq!(after.matches("\"ours\"").count(), 2, "{after}");
            let removed = parse(&after).without_hooks(Some(&parse(before)), is_own);
            assert!(parse(&removed).is_same(&parse(before)), "{before}\n{after}\n{removed}");
        }
    }

    #[test]
    fn hooks_that_others_added_to_our_group_stay() {
        let document = parse(
            r#"{"hooks":{"Stop":[{"matcher":"*","hooks":[{"command":"ours"},{"command":"theirs"}]}]}}"#,
        );
        assert_eq!(
            document.without_hooks(None, is_own),
            r#"{"hooks":{"Stop":[{"matcher":"*","hooks":[{"command":"theirs"}]}]}}"#
        );
    }

    #[test]
    fn comments_around_our_entries_stay() {
        for (text, left) in [
            (
                "{\"hooks\":{\"Stop\":[1 /* a */, {\"x\":\"ours\"} /* b */]}}",
                "{\"hooks\":{\"Stop\":[1 /* a */ /* b */]}}",
            ),
            (
                "{\"hooks\":{\"Stop\":[/* a */ {\"x\":\"ours\"}, // b\n1]}}",
                "{\"hooks\":{\"Stop\":[/* a */ // b\n1]}}",
            ),
            (
                "{\"hooks\":{\"Stop\":[1, // a\n{\"x\":\"ours\"}]}}",
                "{\"hooks\":{\"Stop\":[1 // a\n]}}",
            ),
            ("{\"hooks\":{\"Stop\":[{\"x\":\"ours\"},{\"x\":\"ours\"}]}, \"a\": 1}", "{ \"a\": 1}"),
            (
                "{\"hooks\":{\"Stop\":[1,{\"x\":\"ours\"},{\"x\":\"ours\"}]}}",
                "{\"hooks\":{\"Stop\":[1]}}",
            ),
        ] {
            assert_eq!(parse(text).without_hooks(None, is_own), left);
        }
    }

    #[test]
    fn invalid_settings_are_rejected_with_line_and_column() {
        for (text, reason) in [
            ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 2, column 9: expected comma"),
            ("[]", "not a JSON object"),
            ("{\"a\": tru}", "line 1, column 7: "),
            ("{\"hooks\": []}", "'hooks' is not an object"),
            ("{\"hooks\": {\"Stop\": {}}}", "'hooks.Stop' is not an array"),
        ] {
            let error = add(text, entries()).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }
}
