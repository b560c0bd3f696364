//! Faults of the server process.

use rustix::process::Signal;

use super::rng::Rng;
use super::world::World;

/// Kills and restarts the server under load.
pub(crate) fn kill(world: &World, rng: &mut Rng) {
    rng.pause(0..400);
    world.kill(world.node());
    rng.pause(0..200);
    world.node().start();
}

/// Kills the server repeatedly, before and shortly after it becomes ready.
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

/// Suspends the server, as a debugger or a swapping machine does, sometimes beyond the senders'
/// timeout.
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

/// Stops the server with SIGTERM and restarts it, under load.
pub(crate) fn terminate(world: &World, rng: &mut Rng) {
    rng.pause(0..400);
    if let Err(status) = world.node().stop() {
        world.violation(format!("SIGTERM ended with {status}: {}", world.node().log_tail()));
    }
    rng.pause(0..200);
    world.node().start();
}

/// A second server on the same journal must refuse to start, without side effects.
pub(crate) fn second_server(world: &World, rng: &mut Rng) {
    rng.pause(0..200);
    let address = super::world::address();
    let second = world.node().builder();
    let second = second.set("HOST", address.ip().to_string()).run();
    if second.status.success() || !second.log.contains("locked by another server") {
        world.violation(format!("a second server ended with {}: {}", second.status, second.log));
    }
}
