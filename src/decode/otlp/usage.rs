//! Tokens and cost of a record. Agents count tokens in different ways; the columns have one meaning.

use std::borrow::Cow;

use super::attributes::Attributes;
use crate::decode::fields::Fields;
use crate::event::{PromotedColumn, PromotedColumns, parse_count};

/// The columns that are summed by session.
const USAGE: [PromotedColumn; 3] =
    [PromotedColumn::InputTokens, PromotedColumn::OutputTokens, PromotedColumn::CostUsd];

/// Corrects the tokens of a record: all that the model read, from a cache or not, and all that it wrote,
/// thoughts included. Codex and senders of `gen_ai.*` attributes count so.
pub(super) fn correct(
    agent: &str,
    attributes: &Attributes<'_>,
    promoted: &mut PromotedColumns<'_>,
) {
    let number = |name| attributes.number(&[name]).and_then(|number| parse_count(&number));
    let count = |name| number(name).unwrap_or(0);
    let (Some(input), output) = (
        column(promoted, PromotedColumn::InputTokens),
        column(promoted, PromotedColumn::OutputTokens),
    ) else {
        return;
    };
    let (input, output) = match agent {
        "claude-code" => {
            let cached = count("cache_read_tokens").saturating_add(count("cache_creation_tokens"));
            (input.saturating_add(cached), output)
        }
        "gemini" | "qwen" => {
            let read = input.max(count("cached_content_token_count"));
            let read = read.saturating_add(count("tool_token_count"));
            // The total has thoughts, which the output has or not, depending on the model.
            let rest = count("total_token_count").saturating_sub(read);
            (read, output.map(|output| output.max(rest)))
        }
        _ => return,
    };
    promoted[PromotedColumn::InputTokens] = Some(Cow::Owned(input.to_string()));
    promoted[PromotedColumn::OutputTokens] = output.map(|output| Cow::Owned(output.to_string()));
}

fn column(promoted: &PromotedColumns<'_>, column: PromotedColumn) -> Option<i64> {
    promoted[column].as_deref().and_then(parse_count)
}

/// Removes tokens and cost that another record reports, too.
pub(super) fn remove(fields: &mut Fields<'_>) {
    if let Some(promoted) = &mut fields.promoted {
        for column in USAGE {
            promoted[column] = None;
        }
    }
}
