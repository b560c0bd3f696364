//! Faults of the disk that the server writes to.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::rng::Rng;
use super::world::{Skipped, World};
use crate::harness::eventually;

/// More bytes than the small disk has.
const FILLER_BYTES: usize = 128 << 20;

/// Fills the disk.
fn fill(world: &World) -> PathBuf {
    let filler = world.disk.as_ref().expect("a small disk").path.join("filler");
    // The write that fails has used up the remaining space.
    if std::fs::write(&filler, vec![0; FILLER_BYTES]).is_ok() {
        world.violation("the file did not fill the disk".to_owned());
    }
    filler
}

/// Disk full while the server writes: responses are 503 until space is freed.
pub(crate) fn full(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    for _ in 0..rng.within(1..4) {
        let filler = fill(world);
        rng.pause(100..1_200);
        std::fs::remove_file(filler).expect("space is freed");
        rng.pause(0..100);
    }
}

/// Disk full while the server starts: it serves or exits, and the supervisor restarts it.
pub(crate) fn full_at_start(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.kill(world.node());
    let filler = fill(world);
    world.node().launch();
    rng.pause(200..1_500);
    std::fs::remove_file(filler).expect("space is freed");
    world.node().supervise();
}

fn remount(world: &World, options: &str) -> bool {
    let disk = world.disk.as_ref().expect("a small disk");
    let mount = Command::new("mount")
        .args(["-o", &format!("remount,{options}")])
        .arg(&disk.path)
        .stderr(Stdio::null())
        .status();
    mount.is_ok_and(|status| status.success())
}

/// Disk read-only while the server starts: it exits with an error that names the file.
pub(crate) fn read_only(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    rng.pause(0..300);
    world.kill(world.node());
    if !remount(world, "ro") {
        return Err(Skipped("mounting is not permitted".to_owned()));
    }
    world.node().launch();
    let status = world.node().wait();
    if status.success() {
        world.violation(format!("on a read-only disk the server exited with {status}"));
    }
    let named = world.node().data.display().to_string();
    eventually("the log names the file", || {
        let log = world.node().log_tail();
        if log.contains(&named) { Ok(()) } else { Err(log) }
    });
    assert!(remount(world, "rw"), "the disk can be written to again");
    world.node().supervise();
    Ok(())
}
