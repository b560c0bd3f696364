//! Stored lines, as `import` sends them: the line becomes the event that was stored. The members of `extra`
//! become members of the event again, and promoted columns are kept. `received_at` and `key_name` are
//! replaced by those of the import. A line of another form is decoded like an event from a sender.

use std::borrow::Cow;

use super::agents;
use super::decoded::Invalid;
use super::fields::{Field, Fields};
use crate::event::{PromotedColumn, PromotedColumns};
use crate::json::{text, visit_members};

/// Media type of stored lines, one event per line.
pub(crate) const STORED_LINES: &str = "application/vnd.hooks-backend.stored+jsonl";

/// Maps the members of a stored line to the fields that were sent.
pub(super) fn map_fields(mut fields: Fields<'_>) -> Result<Fields<'_>, Invalid> {
    if !is_stored(&fields) {
        return agents::map_fields(fields);
    }
    let mut promoted = PromotedColumns::default();
    for (name, raw) in fields.take_extra() {
        // Lines are parsed in place.
        let Cow::Borrowed(raw) = raw else { continue };
        if let Some(column) = column(&name) {
            promoted.set_json(column, raw);
        } else if name == "\"extra\"" && raw != "null" {
            let kept = visit_members(raw, "an object", |name, raw| fields.keep_extra(name, raw));
            if kept.is_err() {
                let error = format!("must be an object, not {}", text::kind(raw));
                return Err(Invalid::field("extra", error));
            }
        }
    }
    fields.promoted = Some(promoted);
    // An agent may have members that look like a column and are not.
    fields.is_promoted_complete = true;
    Ok(fields)
}

/// Whether the event has every member that all stored lines have, and none that no stored line has.
fn is_stored(fields: &Fields<'_>) -> bool {
    let mut received = false;
    let all_known = fields.extras().iter().all(|(name, _)| {
        received |= name == "\"received_at\"";
        matches!(&**name, "\"received_at\"" | "\"key_name\"" | "\"extra\"")
            || column(name).is_some()
    });
    received && all_known && Field::ALL.iter().all(|field| fields.has(*field))
}

/// Returns the promoted column with this name, a JSON string token.
fn column(name: &str) -> Option<PromotedColumn> {
    PromotedColumn::from_token(name)
}
