//! All faults.

use super::events::{Dates, Habits, USUAL};
use super::rng::Rng;
use super::world::{Needs, PLAIN, Skipped, World};
use super::{database, server};
use crate::harness::Storage::{self, Jsonl, Postgres};

/// Whose fault it is. Two of different groups can strike together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Server,
    Database,
}

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) storages: &'static [Storage],
    pub(crate) needs: Needs,
    /// Most strikes in a round.
    pub(crate) strikes: u64,
    /// Whether it can strike together with others.
    pub(crate) pairs: bool,
    /// Begins the fault, and ends it.
    pub(crate) strike: fn(&World, &mut Rng) -> Result<(), Skipped>,
}

const BOTH: &[Storage] = &[Jsonl, Postgres];
const POSTGRES: &[Storage] = &[Postgres];

const SMALL_SEGMENTS: Needs =
    Needs { tiny: true, habits: Habits { padding: 4_000, ..USUAL }, ..PLAIN };
const MANY_DAYS: Needs =
    Needs { habits: Habits { dates: Dates::Days(300), batch: 8, ..USUAL }, ..PLAIN };
const COLD: Needs = Needs { cold: true, ..PLAIN };
const PROXY: Needs = Needs { proxy: true, ..PLAIN };

type Strike = fn(&World, &mut Rng) -> Result<(), Skipped>;

const fn server(name: &'static str, strike: Strike) -> Fault {
    let (group, storages, needs) = (Group::Server, BOTH, PLAIN);
    Fault { name, group, storages, needs, strikes: 4, pairs: true, strike }
}

const fn database(name: &'static str, strike: Strike) -> Fault {
    let (group, storages, needs) = (Group::Database, POSTGRES, PLAIN);
    Fault { name, group, storages, needs, strikes: 3, pairs: true, strike }
}

pub(crate) static FAULTS: &[Fault] = &[
    server("kill", server::kill),
    Fault { strikes: 2, ..server("kill-storm", server::kill_storm) },
    Fault {
        storages: POSTGRES,
        needs: COLD,
        strikes: 1,
        pairs: false,
        ..server("kill-migration", server::kill_storm)
    },
    Fault { storages: POSTGRES, needs: MANY_DAYS, ..server("kill-partitions", server::kill) },
    Fault { storages: POSTGRES, needs: SMALL_SEGMENTS, ..server("kill-segments", server::kill) },
    server("pause", server::pause),
    server("terminate", server::terminate),
    Fault { pairs: false, ..server("second-server", server::second_server) },
    database("db-stop-immediate", database::stop_immediate),
    database("db-stop-fast", database::stop_fast),
    database("db-kill", database::kill),
    database("db-restarts", database::restarts),
    Fault { needs: COLD, strikes: 1, pairs: false, ..database("db-late", database::late) },
    database("db-pause", database::pause),
    database("db-end-sessions", database::end),
    Fault { needs: PROXY, ..database("db-cut", database::cut) },
    Fault { needs: PROXY, ..database("db-lose-commit", database::lose_commit) },
    database("db-connection-limit", database::connection_limit),
    Fault { strikes: 1, ..database("db-no-connections", database::no_connections) },
    database("db-read-only", database::read_only),
    Fault {
        needs: Needs { tablespace: true, ..PLAIN },
        ..database("db-full-disk", database::full_disk)
    },
    database("db-rights", database::rights),
    database("db-locked", database::locked),
    database("db-statement-timeout", database::statement_timeout),
    Fault { strikes: 2, ..database("db-failover", database::failover) },
];
