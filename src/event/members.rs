//! The members of a stored event.

use super::promoted::{ColumnKind, PromotedColumn};

/// The type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A string or a number.
    Scalar(ColumnKind),
    /// An RFC 3339 timestamp.
    Timestamp,
    /// A JSON object.
    Object,
}

/// A member of a stored event.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The name in the stored line.
    pub name: &'static str,
    /// The type of the value.
    pub kind: MemberKind,
    /// Whether every stored event has it, and not as null.
    pub is_required: bool,
    /// A description for people.
    pub description: &'static str,
    /// Whether nearly all values differ, so that a dictionary does not compress them.
    pub(crate) is_unique: bool,
}

const TEXT: MemberKind = MemberKind::Scalar(ColumnKind::Text);

const FIRST: [Member; 9] = [
    Member { is_unique: true, ..required("event_id", TEXT, "ID of the event within its session") },
    required("event_type", TEXT, "What happened, for example tool_execution_started"),
    required("session_id", TEXT, "ID of the agent's session"),
    optional("workflow_id", TEXT, "ID of the workflow"),
    optional("phase_id", TEXT, "ID of the phase within the workflow"),
    optional("milestone_id", TEXT, "ID of the milestone within the workflow"),
    required("data", MemberKind::Object, "The payload of the event"),
    required("timestamp", MemberKind::Timestamp, "Time of the event, as the sender gave it"),
    required("received_at", MemberKind::Timestamp, "Time at which the server received the event"),
];

const EXTRA: Member =
    optional("extra", MemberKind::Object, "Members of the request that the API does not define");

/// All members, in the order of the stored line.
pub const MEMBERS: [Member; FIRST.len() + PromotedColumn::COUNT + 1] = {
    let mut members = [EXTRA; FIRST.len() + PromotedColumn::COUNT + 1];
    let (first, rest) = members.split_at_mut(FIRST.len());
    first.copy_from_slice(&FIRST);
    let mut at = 0;
    while at < PromotedColumn::COUNT {
        rest[at] = promoted(PromotedColumn::ALL[at]);
        at += 1;
    }
    members
};

const fn required(name: &'static str, kind: MemberKind, description: &'static str) -> Member {
    Member { name, kind, is_required: true, description, is_unique: false }
}

const fn optional(name: &'static str, kind: MemberKind, description: &'static str) -> Member {
    Member { name, kind, is_required: false, description, is_unique: false }
}

const fn promoted(column: PromotedColumn) -> Member {
    Member {
        is_unique: column.is_unique(),
        ..optional(column.name(), MemberKind::Scalar(column.kind()), column.description())
    }
}
