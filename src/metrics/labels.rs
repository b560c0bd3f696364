//! Closed sets of label values.

/// A limit that a request or a connection can exceed, as the label `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    BodyBytes,
    BatchEvents,
    InflightBytes,
    Connections,
    HeaderBytes,
    Headers,
    HeaderTimeout,
    BodyTimeout,
    ReadBytes,
    JournalBytes,
    RateEvents,
    RateBytes,
}

impl Limit {
    pub(super) const ALL: [Self; 12] = [
        Self::BodyBytes,
        Self::BatchEvents,
        Self::InflightBytes,
        Self::Connections,
        Self::HeaderBytes,
        Self::Headers,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::ReadBytes,
        Self::JournalBytes,
        Self::RateEvents,
        Self::RateBytes,
    ];

    /// The name of the limit's setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BodyBytes => "MAX_BODY_BYTES",
            Self::BatchEvents => "MAX_BATCH_EVENTS",
            Self::InflightBytes => "MAX_INFLIGHT_BYTES",
            Self::Connections => "MAX_CONNECTIONS",
            Self::HeaderBytes => "MAX_HEADER_BYTES",
            Self::Headers => "MAX_HEADERS",
            Self::HeaderTimeout => "HEADER_TIMEOUT",
            Self::BodyTimeout => "BODY_TIMEOUT",
            Self::ReadBytes => "MAX_READ_BYTES",
            Self::JournalBytes => "JOURNAL_MAX_BYTES",
            Self::RateEvents => "RATE_LIMIT_EVENTS",
            Self::RateBytes => "RATE_LIMIT_BYTES",
        }
    }
}

/// The kind of a database error, as the label `problem`: it says who can resolve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseProblem {
    /// No connection, a timeout, or a database that is starting or shutting down: resolves by itself.
    Unreachable,
    /// Wrong user, password or database name: an administrator must correct it.
    Login,
    /// Missing privileges or a read-only database: an administrator must grant access.
    Rights,
    /// Tables that this server did not create: an administrator must move them.
    Schema,
    /// Any other error; the log and `/health` have its text.
    Other,
}

impl DatabaseProblem {
    pub(super) const ALL: [Self; 5] =
        [Self::Unreachable, Self::Login, Self::Rights, Self::Schema, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Login => "login",
            Self::Rights => "rights",
            Self::Schema => "schema",
            Self::Other => "other",
        }
    }
}
