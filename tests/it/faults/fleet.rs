//! Several servers on one database. Senders fail over to another server, and always send
//! timestamps, which make a retry idempotent across servers.

use std::path::Path;

use super::rng::Rng;
use super::stored::{ids, whole_lines};
use super::world::World;
use crate::harness::workspace::forwarded_so_far;

/// Kills and restarts one server after the other.
pub(crate) fn failover(world: &World, rng: &mut Rng) {
    for _ in 0..if world.brief { 2 } else { rng.within(2..8) } {
        let node = rng.pick(&world.nodes);
        rng.pause(0..300);
        world.kill(node);
        rng.pause(0..800);
        node.start();
    }
}

/// One server stays down for a long time while the others continue. The events in its journal are
/// delivered once it is started again.
pub(crate) fn long_dead(world: &World, rng: &mut Rng) {
    let node = rng.pick(&world.nodes);
    rng.pause(0..300);
    world.kill(node);
    node.retire();
    world.recovered(rng);
    world.progress(200);
    rng.pause(500..3_000);
    node.unretire();
    node.start();
}

/// One server restarts with an empty disk. Events stored only there are lost.
pub(crate) fn empty_journal(world: &World, rng: &mut Rng) {
    let node = rng.pick(&world.nodes);
    rng.pause(0..300);
    world.kill(node);
    let stored = ids(&world.stored());
    let entries = std::fs::read_dir(&node.data).expect("a journal").flatten();
    let had = entries.flat_map(|entry| ids(&whole_lines(&entry.path())));
    world.ledger.excuse(had.filter(|id| !stored.contains(id)));
    std::fs::remove_dir_all(&node.data).expect("a journal");
    node.start();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// One server gets a copy of another's disk, and both continue.
pub(crate) fn cloned_journal(world: &World, rng: &mut Rng) {
    let (original, clone) = (&world.nodes[0], &world.nodes[1]);
    // The journal of the clone is deleted, so it must not have a backlog.
    clone.with(forwarded_so_far);
    if let Err(status) = clone.stop() {
        world.violation(format!("SIGTERM ended with {status}"));
    }
    let away = rng.percent(50);
    if away {
        world.cluster().stop_fast();
        rng.pause(200..1_000);
    }
    world.kill(original);
    std::fs::remove_dir_all(&clone.data).expect("a journal");
    copy(&original.data, &clone.data);
    original.start();
    clone.start();
    rng.pause(0..500);
    if away {
        world.cluster().start();
    }
}
