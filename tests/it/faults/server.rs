//! Faults of the server's own process.

use rustix::process::Signal;

use super::rng::Rng;
use super::world::World;

/// Killed while it works, and started again.
pub(crate) fn kill(world: &World, rng: &mut Rng) {
    rng.pause(0..400);
    world.kill(world.node());
    rng.pause(0..200);
    world.node().start();
}

/// Killed again and again before and shortly after it takes events.
pub(crate) fn kill_storm(world: &World, rng: &mut Rng) {
    let kills = if world.brief { 6 } else { rng.within(8..20) };
    for _ in 0..kills {
        if world.node().is_started() {
            world.kill(world.node());
        }
        world.node().launch();
        rng.pause(0..250);
    }
    world.kill(world.node());
    world.node().start();
}

/// Stands still, as in a debugger or on a machine that swaps, for longer than senders wait or not.
pub(crate) fn pause(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.node().signal(Signal::STOP);
    if rng.percent(30) && !world.brief {
        rng.pause(5_000..8_000);
    } else {
        rng.pause(100..2_000);
    }
    world.node().signal(Signal::CONT);
}

/// Ended and started in the orderly way, under load.
pub(crate) fn terminate(world: &World, rng: &mut Rng) {
    rng.pause(0..400);
    if let Err(status) = world.node().stop() {
        world.wrong(format!("SIGTERM ended with {status}: {}", world.node().log_tail()));
    }
    rng.pause(0..200);
    world.node().start();
}

/// A second server on the same journal must refuse to start, and harm nothing.
pub(crate) fn second_server(world: &World, rng: &mut Rng) {
    rng.pause(0..200);
    let address = super::world::address();
    let second = world.node().how();
    let second = second.set("HOST", address.ip().to_string()).run();
    if second.status.success() || !second.log.contains("locked by another server") {
        world.wrong(format!("a second server ended with {}: {}", second.status, second.log));
    }
}
