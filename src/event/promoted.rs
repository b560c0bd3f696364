//! The promoted columns: values of an event that are stored beside `data`, so that queries can use
//! them without parsing JSON.
//!
//! The table below is the only list of them. The stored line, the decoders, the PostgreSQL table and
//! its rows, the SQLite index, CSV, Parquet and the API description are derived from it.

use std::borrow::Cow;
use std::ops::{Index, IndexMut};

use super::TEXT_BYTES_MAX;
use crate::json::text::unescape;

/// The type of a promoted column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A string of at most 255 bytes.
    Text,
    /// A whole number.
    Count,
    /// A floating-point number.
    Measure,
}

/// One row of the table.
struct Definition {
    kind: ColumnKind,
    description: &'static str,
    /// Paths in the payload of a hook, tried in order; [agents](crate::decode) can add their own. A
    /// member of `data` with the column's name always counts, after these.
    payload: &'static [&'static str],
    /// Attributes of an OpenTelemetry log record, tried in order.
    attributes: &'static [&'static str],
    /// False if the server sets the value. Members of `data` with that name are then ignored.
    is_from_data: bool,
    /// Whether the SQLite index has the column, because filters or statistics use it.
    is_indexed: bool,
    /// Whether nearly all values differ, so that a dictionary does not compress them.
    is_unique: bool,
}

columns! {
    "agent" Agent: Definition {
        attributes: &["gen_ai.agent.name", "service.name"],
        is_indexed: true,
        ..text("Name of the agent")
    },
    "tool_name" ToolName: Definition {
        payload: &["tool_name", "toolName"],
        attributes: &["tool_name", "gen_ai.tool.name", "function_name"],
        is_indexed: true,
        ..text("Name of the tool")
    },
    "tool_use_id" ToolUseId: Definition {
        payload: &["tool_use_id", "toolUseId", "tool_call_id", "call_id"],
        attributes: &[
            "tool_use_id",
            "gen_ai.tool.call.id",
            "call_id",
            "gen_ai.tool.call_id",
            "tool.call_id",
        ],
        is_indexed: true,
        is_unique: true,
        ..text("ID of the tool call, which the events of one call share")
    },
    "duration_ms" DurationMs: Definition {
        payload: &["duration_ms", "durationMs"],
        attributes: &["duration_ms"],
        is_indexed: true,
        ..measure("Duration of the tool call or request, in milliseconds")
    },
    "input_tokens" InputTokens: Definition {
        attributes: &["input_tokens", "gen_ai.usage.input_tokens", "input_token_count"],
        is_indexed: true,
        ..count("Number of tokens that the model read, from a cache or not")
    },
    "output_tokens" OutputTokens: Definition {
        attributes: &["output_tokens", "gen_ai.usage.output_tokens", "output_token_count"],
        is_indexed: true,
        ..count("Number of tokens that the model wrote, reasoning included")
    },
    "cost_usd" CostUsd: Definition {
        attributes: &["cost_usd", "gen_ai.usage.cost"],
        is_indexed: true,
        ..measure("Cost in US dollars")
    },
    "subagent_id" SubagentId: Definition {
        payload: &["subagent_id", "agent_id"],
        attributes: &["agent_id"],
        ..text("ID of the subagent; absent for the main agent of the session")
    },
    "parent_session_id" ParentSessionId: Definition {
        payload: &["parent_session_id"],
        attributes: &["parent_session.id", "parent_session_id", "parent.conversation.id"],
        is_indexed: true,
        ..text("ID of the session that started this session")
    },
    "key_name" KeyName: Definition {
        is_from_data: false,
        ..text("Name of the API key of the sender, with STORE_KEY_NAME=true")
    },
}

const fn column(kind: ColumnKind, description: &'static str) -> Definition {
    Definition {
        kind,
        description,
        payload: &[],
        attributes: &[],
        is_from_data: true,
        is_indexed: false,
        is_unique: false,
    }
}

const fn text(description: &'static str) -> Definition {
    column(ColumnKind::Text, description)
}

const fn count(description: &'static str) -> Definition {
    column(ColumnKind::Count, description)
}

const fn measure(description: &'static str) -> Definition {
    column(ColumnKind::Measure, description)
}

/// Makes the enum [`PromotedColumn`] of the table's rows.
macro_rules! columns {
    ($($name:literal $column:ident: $definition:expr,)*) => {
        /// A promoted column, in the order of the stored line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "described in the table")]
        pub enum PromotedColumn {
            $($column,)*
        }

        impl PromotedColumn {
            /// All promoted columns, in the order of the stored line.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$column,)*];
            pub(crate) const COUNT: usize = [$($name,)*].len();
            const TABLE: [Definition; Self::COUNT] = [$($definition,)*];

            /// The name, as a member of the stored line and as a database column.
            pub const fn name(self) -> &'static str {
                const NAMES: [&str; PromotedColumn::COUNT] = [$($name,)*];
                NAMES[self as usize]
            }

            /// The name as it precedes the value in the stored line: `,"agent":`.
            pub(super) const fn line_key(self) -> &'static str {
                const KEYS: [&str; PromotedColumn::COUNT] = [$(concat!(",\"", $name, "\":"),)*];
                KEYS[self as usize]
            }

            /// The column that takes its value from a member of `data` with this name.
            #[inline]
            fn from_data(name: &str) -> Option<Self> {
                match name {
                    $($name if const { Self::TABLE[Self::$column as usize].is_from_data } => {
                        Some(Self::$column)
                    })*
                    _ => None,
                }
            }
        }
    };
}
use columns;

impl PromotedColumn {
    /// The column that takes its value from a member of `data` with this name, a JSON string token.
    #[inline]
    pub(crate) fn from_token(token: &str) -> Option<Self> {
        let name = &token[1..token.len() - 1];
        Self::from_data(name).or_else(|| {
            // A name with escapes never matches without unescaping.
            name.contains('\\').then(|| Self::from_data(&unescape(token))).flatten()
        })
    }

    const fn definition(self) -> &'static Definition {
        static TABLE: [Definition; PromotedColumn::COUNT] = PromotedColumn::TABLE;
        &TABLE[self as usize]
    }

    /// The type of the values.
    #[inline]
    pub const fn kind(self) -> ColumnKind {
        // Apart from the other definitions, because decoding reads it often.
        static KINDS: [ColumnKind; PromotedColumn::COUNT] = {
            let mut kinds = [ColumnKind::Text; PromotedColumn::COUNT];
            let mut at = 0;
            while at < PromotedColumn::COUNT {
                kinds[at] = PromotedColumn::TABLE[at].kind;
                at += 1;
            }
            kinds
        };
        KINDS[self as usize]
    }

    /// A description for people.
    pub const fn description(self) -> &'static str {
        self.definition().description
    }

    pub(crate) const fn payload_paths(self) -> &'static [&'static str] {
        self.definition().payload
    }

    pub(crate) const fn log_attributes(self) -> &'static [&'static str] {
        self.definition().attributes
    }

    pub(crate) const fn is_indexed(self) -> bool {
        self.definition().is_indexed
    }

    pub(crate) const fn is_unique(self) -> bool {
        self.definition().is_unique
    }
}

/// The promoted columns of one event: for each the text, or the JSON number as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromotedColumns<'a>([Option<Cow<'a, str>>; PromotedColumn::COUNT]);

impl<'a> PromotedColumns<'a> {
    /// Sets a column to a raw JSON value. In a text column, a number is text.
    pub(crate) fn set_json(&mut self, column: PromotedColumn, raw: &'a str) {
        self[column] = match (column.kind(), raw.as_bytes()[0]) {
            (ColumnKind::Text, b'"') => Some(unescape(raw)),
            (_, b'-' | b'0'..=b'9') => Some(Cow::Borrowed(raw)),
            _ => None,
        };
    }

    /// Replaces the values of the text columns.
    pub(crate) fn map_texts(
        &mut self,
        mut map: impl FnMut(PromotedColumn, Cow<'a, str>) -> Cow<'a, str>,
    ) {
        for (column, value) in PromotedColumn::ALL.into_iter().zip(&mut self.0) {
            if column.kind() == ColumnKind::Text {
                *value = value.take().map(|text| map(column, text));
            }
        }
    }

    /// Removes values that the columns cannot hold: empty or long texts, and numbers out of range. A count
    /// becomes a whole number.
    pub(crate) fn keep_valid(&mut self) {
        for (column, value) in PromotedColumn::ALL.into_iter().zip(&mut self.0) {
            match column.kind() {
                ColumnKind::Text => {
                    value.take_if(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX);
                }
                ColumnKind::Measure => {
                    value.take_if(|number| parse_measure(number).is_none());
                }
                ColumnKind::Count => {
                    let is_plain = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
                    if value.as_ref().is_some_and(|number| !is_plain(number) || number.len() > 18) {
                        let count = value.take().and_then(|number| parse_count(&number));
                        *value = count.map(|count| count.to_string().into());
                    }
                }
            }
        }
    }

    /// Fills in the values that are missing from others.
    #[must_use]
    pub fn or(mut self, mut others: Self) -> Self {
        for (value, other) in self.0.iter_mut().zip(&mut others.0) {
            if value.is_none() {
                *value = other.take();
            }
        }
        self
    }

    /// Each column and its value, in the order of the stored line.
    pub fn iter(&self) -> impl Iterator<Item = (PromotedColumn, Option<&str>)> {
        PromotedColumn::ALL.into_iter().zip(self.0.iter().map(Option::as_deref))
    }
}

impl<'a> Index<PromotedColumn> for PromotedColumns<'a> {
    type Output = Option<Cow<'a, str>>;

    fn index(&self, column: PromotedColumn) -> &Self::Output {
        &self.0[column as usize]
    }
}

impl IndexMut<PromotedColumn> for PromotedColumns<'_> {
    fn index_mut(&mut self, column: PromotedColumn) -> &mut Self::Output {
        &mut self.0[column as usize]
    }
}

/// Returns a JSON number as a count, also if it is written with a fraction (`12.0`).
pub fn parse_count(number: &str) -> Option<i64> {
    const EXACT_BELOW: f64 = 9e15;
    let fraction = || number.parse::<f64>().ok().filter(|number| number.abs() < EXACT_BELOW);
    number.parse().ok().or_else(|| fraction().map(|number| number as i64))
}

/// Returns a JSON number as a floating-point number, if it is in range.
pub fn parse_measure(number: &str) -> Option<f64> {
    number.parse().ok().filter(|number: &f64| number.is_finite())
}
