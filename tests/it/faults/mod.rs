//! Fault-injection campaign against the real program: no event is lost, none is duplicated.
//!
//! Senders behave like real clients, a ledger records the response to each event, faults strike at
//! random moments, and at the end the ledger is compared with the stored events, field by field.
//! `scripts/faults` runs it for a given time; see `docs/faults.md`.

mod campaign;
mod clock;
mod crash_points;
mod database;
mod disk;
mod events;
mod file;
mod fleet;
mod journal;
mod ledger;
mod needs;
mod node;
mod plan;
mod proxy;
mod regressions;
mod report;
mod retention;
pub(crate) mod rng;
mod senders;
mod server;
mod stored;
mod table;
mod traced;
mod world;

#[test]
fn no_event_is_lost_or_duplicated_under_any_fault() {
    campaign::run();
}
