//! The columns of `hook_events`.

/// The columns in the order in which rows are encoded, and their types.
pub(super) const COLUMNS: [(&str, &str); 22] = [
    ("session_id", "text"),
    ("event_id", "text"),
    ("timestamp", "timestamp with time zone"),
    ("event_type", "text"),
    ("workflow_id", "text"),
    ("phase_id", "text"),
    ("milestone_id", "text"),
    ("data", "jsonb"),
    ("received_at", "timestamp with time zone"),
    ("agent", "text"),
    ("tool_name", "text"),
    ("tool_use_id", "text"),
    ("duration_ms", "double precision"),
    ("input_tokens", "bigint"),
    ("output_tokens", "bigint"),
    ("cost_usd", "double precision"),
    ("subagent_id", "text"),
    ("parent_session_id", "text"),
    ("key_name", "text"),
    ("extra", "jsonb"),
    ("journal", "integer"),
    ("position", "bigint"),
];

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
pub(super) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
