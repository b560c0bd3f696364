//! The table of all faults.

use super::events::{Dates, Habits, USUAL};
use super::needs::{Needs, PLAIN};
use super::rng::Rng;
use super::world::{Skipped, World};
use super::{clock, crash_points, database, disk, file, fleet, journal, retention, server, traced};
use Strike::{Always, IfPermitted};

use crate::harness::Storage::{self, Jsonl, Postgres};

/// The failing component. Faults of different groups can be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Server,
    Database,
    Disk,
    Journal,
    File,
    Clock,
    Fleet,
    CrashPoint,
    Retention,
}

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) storages: &'static [Storage],
    /// The values of `ACK` to test: false for `journal`, true for `stored`.
    pub(crate) ack_stored: &'static [bool],
    pub(crate) needs: Needs,
    /// Maximum number of strikes in a round.
    pub(crate) strikes: u64,
    /// Can be combined with another fault.
    pub(crate) pairs: bool,
    pub(crate) strike: Strike,
}

/// Begins and ends a fault.
#[derive(Clone, Copy)]
pub(crate) enum Strike {
    Always(fn(&World, &mut Rng)),
    /// Needs a tool or a permission that may be missing.
    IfPermitted(fn(&World, &mut Rng) -> Result<(), Skipped>),
}

impl Strike {
    pub(crate) fn run(self, world: &World, rng: &mut Rng) -> Result<(), Skipped> {
        match self {
            Self::Always(strike) => {
                strike(world, rng);
                Ok(())
            }
            Self::IfPermitted(strike) => strike(world, rng),
        }
    }
}

const BOTH: &[Storage] = &[Jsonl, Postgres];
const POSTGRES: &[Storage] = &[Postgres];
const JSONL: &[Storage] = &[Jsonl];

const SMALL_SEGMENTS: Needs =
    Needs { tiny: true, habits: Habits { padding: 4_000, ..USUAL }, ..PLAIN };
const MANY_DAYS: Needs =
    Needs { habits: Habits { dates: Dates::Days(90), batch: 8, ..USUAL }, ..PLAIN };
const COLD: Needs = Needs { cold: true, ..PLAIN };
const PROXY: Needs = Needs { proxy: true, ..PLAIN };

const DISK: Needs = Needs { disk: true, ..PLAIN };
/// For faults after which the dedup window is lost: there only the timestamp makes a retry idempotent.
const TIMED: Needs = Needs { habits: Habits { untimed: 0, ..USUAL }, ..PLAIN };
const TIMED_SMALL_SEGMENTS: Needs =
    Needs { habits: Habits { untimed: 0, padding: 4_000, ..USUAL }, ..SMALL_SEGMENTS };
const FLEET: Needs = Needs { servers: 3, senders: 6, ..TIMED };
const PLAIN_IDS: Needs =
    Needs { habits: Habits { plain_ids: true, padding: 4_000, ..USUAL }, ..ROTATING };
const ROTATING: Needs = Needs { environment: &[("JSONL_ROTATE", "day,1MiB")], ..SMALL_SEGMENTS };
const ABSURD: Needs = Needs { habits: Habits { dates: Dates::Absurd, ..USUAL }, ..PLAIN };

const fn server(name: &'static str, strike: fn(&World, &mut Rng)) -> Fault {
    let strike = Strike::Always(strike);
    let (group, storages, needs) = (Group::Server, BOTH, PLAIN);
    Fault {
        name,
        group,
        storages,
        ack_stored: &[false, true],
        needs,
        strikes: 4,
        pairs: true,
        strike,
    }
}

const fn database(name: &'static str, strike: fn(&World, &mut Rng)) -> Fault {
    let strike = Strike::Always(strike);
    let (group, storages, needs) = (Group::Database, POSTGRES, PLAIN);
    Fault {
        name,
        group,
        storages,
        ack_stored: &[false, true],
        needs,
        strikes: 3,
        pairs: true,
        strike,
    }
}

const fn alone(group: Group, name: &'static str, needs: Needs, strike: Strike) -> Fault {
    let (storages, ack_stored) = (POSTGRES, &[false, true]);
    Fault { name, group, storages, ack_stored, needs, strikes: 2, pairs: false, strike }
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
    Fault {
        needs: Needs { retained: true, ..PLAIN },
        strikes: 2,
        ..database("db-failover", database::failover)
    },
    Fault {
        pairs: true,
        storages: BOTH,
        strikes: 3,
        ..alone(Group::Disk, "disk-full", DISK, Always(disk::full))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Disk, "disk-full-at-start", DISK, Always(disk::full_at_start))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Disk, "disk-read-only", DISK, IfPermitted(disk::read_only))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Disk, "disk-sync-fails", PLAIN_IDS, IfPermitted(traced::sync_fails))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Disk, "disk-write-fails", PLAIN, IfPermitted(traced::write_fails))
    },
    Fault {
        storages: BOTH,
        strikes: 1,
        ..alone(
            Group::Disk,
            "disk-synced-first",
            Needs { senders: 0, cold: true, ..PLAIN },
            IfPermitted(traced::synced_first),
        )
    },
    alone(Group::Journal, "journal-truncated", TIMED, Always(journal::truncated)),
    alone(Group::Journal, "journal-flipped-bit", TIMED, Always(journal::flipped_bit)),
    alone(Group::Journal, "journal-garbage", TIMED, Always(journal::garbage)),
    Fault {
        ack_stored: &[false],
        ..alone(
            Group::Journal,
            "journal-segment-deleted",
            TIMED_SMALL_SEGMENTS,
            Always(journal::deleted),
        )
    },
    Fault {
        ack_stored: &[false],
        ..alone(
            Group::Journal,
            "journal-segment-deleted-live",
            TIMED_SMALL_SEGMENTS,
            Always(journal::deleted_live),
        )
    },
    alone(Group::Journal, "journal-position-missing", PLAIN, Always(journal::position_missing)),
    alone(Group::Journal, "journal-emptied", TIMED, Always(journal::emptied)),
    Fault {
        storages: JSONL,
        ..alone(Group::File, "file-truncated", PLAIN, Always(file::truncated))
    },
    Fault { storages: JSONL, ..alone(Group::File, "file-deleted", PLAIN, Always(file::deleted)) },
    Fault { storages: JSONL, ..alone(Group::File, "file-edited", PLAIN, Always(file::edited)) },
    Fault {
        storages: JSONL,
        ..alone(Group::File, "file-rotated-create", PLAIN, Always(file::rotated_create))
    },
    Fault {
        storages: JSONL,
        ..alone(Group::File, "file-rotated-copytruncate", PLAIN, Always(file::rotated_copytruncate))
    },
    Fault {
        storages: JSONL,
        pairs: true,
        ..alone(Group::File, "file-foreign-lines", PLAIN, Always(file::foreign_lines))
    },
    Fault {
        storages: JSONL,
        strikes: 5,
        ..alone(Group::File, "rotation-kill", ROTATING, Always(server::kill))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Clock, "clock-jumps", ROTATING, IfPermitted(clock::jumps))
    },
    Fault {
        storages: BOTH,
        ..alone(Group::Clock, "clock-absurd-dates", ABSURD, Always(server::kill))
    },
    alone(Group::Fleet, "fleet-failover", FLEET, Always(fleet::failover)),
    alone(Group::Fleet, "fleet-long-dead", FLEET, Always(fleet::long_dead)),
    alone(Group::Fleet, "fleet-empty-journal", FLEET, Always(fleet::empty_journal)),
    alone(Group::Fleet, "fleet-cloned-journal", FLEET, Always(fleet::cloned_journal)),
    Fault {
        storages: BOTH,
        strikes: 1,
        ..alone(
            Group::CrashPoint,
            "crash-points",
            Needs { senders: 0, cold: true, ..ROTATING },
            IfPermitted(crash_points::crash),
        )
    },
    Fault {
        storages: JSONL,
        ..alone(
            Group::Retention,
            "retention-files",
            Needs {
                environment: &[("JSONL_ROTATE", "1MiB"), ("RETENTION_DAYS", "1")],
                ..SMALL_SEGMENTS
            },
            Always(retention::files),
        )
    },
    Fault {
        strikes: 1,
        ..alone(
            Group::Retention,
            "retention-partitions",
            Needs {
                environment: &[("RETENTION_DAYS", "2")],
                habits: Habits { dates: Dates::Days(6), untimed: 0, ..USUAL },
                ..PLAIN
            },
            Always(retention::partitions),
        )
    },
];
