//! Clock faults, by `libfaketime`.

use std::path::PathBuf;

use super::rng::Rng;
use super::stored::{line_files, whole_lines};
use super::world::{Skipped, World};
use crate::harness::{Storage, eventually};

fn library() -> Option<PathBuf> {
    let directories = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let paths =
        directories.map(|directory| PathBuf::from(directory).join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.exists())
}

const OFFSETS: [&str; 10] =
    ["+1d", "+2d", "+400d", "-1d", "-3h", "-800d", "+0", "+1h", "+20y", "-30y"];

/// Makes the clock of the server jump back and forth by hours and days.
pub(crate) fn jumps(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    let library = library().ok_or_else(|| Skipped("libfaketime is missing".to_owned()))?;
    let clock = world.workspace.directory().join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).expect("a file");
        std::fs::rename(&new, &clock).expect("the clock");
    };
    set("+0");
    world.node().change(|builder| {
        builder
            .set("LD_PRELOAD", &library)
            .set("FAKETIME_TIMESTAMP_FILE", &clock)
            .set("FAKETIME_NO_CACHE", "1")
            .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .set("DONT_FAKE_MONOTONIC", "1")
    });
    if world.node().is_started() {
        world.kill(world.node());
    }
    world.node().start();
    for jump in 0..if world.brief { 3 } else { rng.within(3..10) } {
        // The first jump is large enough to be visible in the stored events.
        let offset: &str = if jump == 0 { "+20y" } else { rng.pick::<&str>(&OFFSETS) };
        set(offset);
        world.progress(60);
        rng.pause(0..200);
        if rng.percent(30) {
            world.kill(world.node());
            world.node().start();
        }
    }
    set("+0");
    eventually("events of another year are stored", || {
        let stored = match world.storage {
            Storage::Postgres => world.stored(),
            // Files are rotated meanwhile.
            Storage::Jsonl => {
                line_files(&world.node().data).iter().flat_map(|file| whole_lines(file)).collect()
            }
        };
        let jumped = stored.iter().any(|event| {
            event["received_at"].as_str().is_some_and(|time| !time.starts_with(&this_year()))
        });
        if jumped { Ok(()) } else { Err(stored.len()) }
    });
    Ok(())
}

fn this_year() -> String {
    jiff::Timestamp::now().strftime("%Y-").to_string()
}
