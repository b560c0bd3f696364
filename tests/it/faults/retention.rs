//! Retention deletes expired data and nothing newer.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::rng::Rng;
use super::stored::{ids, line_files, whole_lines};
use super::world::World;
use crate::harness::{eventually, workspace::forwarded_so_far};

const DAY: Duration = Duration::from_hours(24);

/// With `RETENTION_DAYS=1`: rotated files last modified more than a day ago are deleted.
pub(crate) fn files(world: &World, rng: &mut Rng) {
    let rotated = || {
        let mut files = line_files(&world.node().data);
        files.retain(|file| !file.ends_with("events.jsonl"));
        files
    };
    let files = eventually("files are rotated", || {
        let files = rotated();
        if files.len() >= 2 { Ok(files) } else { Err(files) }
    });
    let old = rng.pick(&files);
    for file in &files {
        let age = if file == old { DAY + Duration::from_mins(1) } else { Duration::from_hours(23) };
        let opened = File::options().append(true).open(file).expect("a rotated file");
        opened.set_modified(SystemTime::now() - age).expect("the modification time can be set");
    }
    world.ledger.excuse(ids(&whole_lines(old)));
    if rng.percent(50) {
        world.kill(world.node());
        world.node().start();
    }
    eventually("the old file is deleted", || if old.exists() { Err(old) } else { Ok(()) });
    if let Some(gone) = files.iter().find(|file| *file != old && !file.exists()) {
        world.violation(format!("{} was deleted too early", gone.display()));
    }
}

/// With `RETENTION_DAYS=2`: partitions of days that ended more than two days ago are dropped.
pub(crate) fn partitions(world: &World, _rng: &mut Rng) {
    let day = |back: i64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * back);
        time.strftime("%Y-%m-%d").to_string()
    };
    let oldest_kept = day(2);
    world.progress(300);
    world.node().with(forwarded_so_far);
    world.kill(world.node());
    world.node().start();
    eventually("partitions are dropped", || {
        let log = world.node().log();
        if log.contains("dropped after RETENTION_DAYS") { Ok(()) } else { Err(log) }
    });
    // Midnight may have passed in between.
    let (before, after) = (oldest_kept, day(2));
    world.ledger.excuse_where(|event| {
        event["timestamp"].as_str().is_some_and(|time| time < after.as_str())
    });
    let newest_dropped = before.replace('-', "");
    for line in world.node().log().lines().filter(|line| line.contains("dropped after")) {
        let dropped = line.split("hook_events_").nth(1).and_then(|rest| rest.get(..8));
        if dropped.is_none_or(|dropped| dropped >= after.replace('-', "").as_str()) {
            world.violation(format!("dropped too early ({newest_dropped}): {line}"));
        }
    }
}
