//! Nothing lost, nothing doubled: a campaign of faults against the real program.
//!
//! Senders behave as real ones do, a ledger keeps what each event was answered, faults strike at
//! random moments, and in the end the ledger is compared with what is stored, by content.
//! `scripts/faults` runs this for as long as one likes; `docs/faults.md` explains it.

mod campaign;
mod clock;
mod crash_points;
mod database;
mod disk;
mod events;
mod file;
mod fleet;
mod found;
mod journal;
mod ledger;
mod needs;
mod node;
mod plan;
mod proxy;
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
fn nothing_is_lost_and_nothing_doubled_under_any_fault() {
    campaign::run();
}
