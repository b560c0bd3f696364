//! Faults of PostgreSQL.

use std::os::unix::fs::chown;

use rustix::process::Signal;

use super::proxy::Mode;
use super::rng::Rng;
use super::world::{ROLE, Skipped, World};
use crate::harness::Cluster;
use crate::harness::postgres::owner;
use crate::harness::reaper::{SmallDisk, directory};

/// Terminates the server's database sessions, so that it has to log in again.
fn end_sessions(world: &World) {
    world.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    ));
}

pub(crate) fn stop_immediate(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.cluster().stop();
    rng.pause(0..1_500);
    world.cluster().start();
}

pub(crate) fn stop_fast(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.cluster().stop_fast();
    rng.pause(0..1_500);
    world.cluster().start();
}

pub(crate) fn kill(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.cluster().kill9();
    world.count_kill();
    rng.pause(0..500);
    world.cluster().start();
}

/// Restarts PostgreSQL several times, with hardly time to connect in between.
pub(crate) fn restarts(world: &World, rng: &mut Rng) {
    for _ in 0..3 {
        rng.pause(0..400);
        world.cluster().stop_fast();
        world.cluster().start();
    }
}

/// Starts PostgreSQL after the server.
pub(crate) fn late(world: &World, rng: &mut Rng) {
    world.cluster().stop_fast();
    world.node().start();
    rng.pause(500..3_000);
    world.cluster().start();
}

/// Suspends all processes of PostgreSQL.
pub(crate) fn pause(world: &World, rng: &mut Rng) {
    rng.pause(0..300);
    world.cluster().signal_all(Signal::STOP);
    if rng.percent(30) && !world.brief {
        rng.pause(4_000..15_000);
    } else {
        rng.pause(100..2_000);
    }
    world.cluster().signal_all(Signal::CONT);
}

/// Terminates the server's database sessions repeatedly.
pub(crate) fn end(world: &World, rng: &mut Rng) {
    for _ in 0..5 {
        rng.pause(0..250);
        end_sessions(world);
    }
}

fn with_proxy(world: &World, rng: &mut Rng, mode: Mode) {
    let proxy = world.proxy.as_ref().expect("a proxy");
    let before = proxy.cuts();
    proxy.set(mode, rng);
    rng.pause(800..2_500);
    proxy.set(Mode::Pass, rng);
    if world.alone && proxy.cuts() == before {
        world.violation("the proxy cut no connection".to_owned());
    }
}

/// Cuts connections after a random number of bytes, often in the middle of a COPY.
pub(crate) fn cut(world: &World, rng: &mut Rng) {
    let within = *rng.pick(&[2_000, 20_000, 60_000]);
    with_proxy(world, rng, Mode::CutWithin(within));
}

/// Cuts connections between COMMIT and its response.
pub(crate) fn lose_commit(world: &World, rng: &mut Rng) {
    with_proxy(world, rng, Mode::LoseCommit(60));
}

/// Forbids the role to connect.
pub(crate) fn connection_limit(world: &World, rng: &mut Rng) {
    world.sql(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0"));
    end_sessions(world);
    rng.pause(300..2_000);
    world.sql(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1"));
}

/// Uses up all connections.
pub(crate) fn no_connections(world: &World, rng: &mut Rng) {
    world.cluster().stop_fast();
    world.cluster().start_with(&["max_connections=8", "superuser_reserved_connections=3"]);
    let mut others = Vec::new();
    let config = || {
        let directory = world.cluster().socket().parent().expect("a directory").to_owned();
        let mut config = postgres::Config::new();
        config.host_path(directory).user(ROLE).dbname("postgres");
        config
    };
    for _ in 0..2 {
        end_sessions(world);
        while let Ok(other) = config().connect(postgres::NoTls) {
            others.push(other);
        }
    }
    rng.pause(500..2_000);
    drop(others);
    world.cluster().stop_fast();
    world.cluster().start();
}

pub(crate) fn read_only(world: &World, rng: &mut Rng) {
    let name = &world.workspace.database().name;
    world.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    end_sessions(world);
    rng.pause(300..2_000);
    let mut administrator = world.cluster().try_connect("postgres").expect("PostgreSQL is running");
    let reset = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    administrator.batch_execute(&reset).expect("the setting can be reset");
}

/// A tablespace on a small disk.
pub(crate) fn tablespace(cluster: &Cluster, name: &str) -> Result<SmallDisk, Skipped> {
    let parent = directory().keep();
    let disk = SmallDisk::mount(parent.join("tablespace"), 256 << 20)
        .ok_or_else(|| Skipped("mounting is not permitted".to_owned()))?;
    let (user, group) = owner();
    chown(&disk.path, Some(user), Some(group)).expect("PostgreSQL's user is known");
    let mut administrator = cluster.try_connect("postgres").expect("PostgreSQL is running");
    let create = format!("CREATE TABLESPACE {name} LOCATION '{}'", disk.path.display());
    administrator.batch_execute(&create).expect("a tablespace");
    Ok(disk)
}

/// Fills the disk of the database.
pub(crate) fn full_disk(world: &World, rng: &mut Rng) {
    let disk = world.tablespace.as_ref().expect("a small disk");
    let filler = disk.path.join("filler");
    // The write that fails has used up the remaining space.
    let full = std::fs::write(&filler, vec![0; 300 << 20]);
    if full.is_ok() {
        world.violation("the file did not fill the disk".to_owned());
    }
    rng.pause(1_000..3_000);
    std::fs::remove_file(filler).expect("space is freed");
}

/// Revokes rights of the role and grants them again.
pub(crate) fn rights(world: &World, rng: &mut Rng) {
    let (take, give) = match rng.within(0..3) {
        0 => ("ALTER TABLE hook_events OWNER TO postgres".to_owned(), {
            format!("ALTER TABLE hook_events OWNER TO {ROLE}")
        }),
        1 => {
            let rights = "SELECT, INSERT, UPDATE ON hook_events, hook_positions";
            (format!("REVOKE {rights} FROM {ROLE}"), format!("GRANT {rights} TO {ROLE}"))
        }
        _ => {
            let all = "USAGE ON SCHEMA public";
            (
                format!("REVOKE {all} FROM PUBLIC, {ROLE}, pg_database_owner"),
                format!("GRANT {all} TO PUBLIC"),
            )
        }
    };
    world.sql(&take);
    if rng.percent(50) {
        end_sessions(world);
    }
    rng.pause(300..2_000);
    world.sql(&give);
}

/// Locks the table from another session.
pub(crate) fn locked(world: &World, rng: &mut Rng) {
    let mut other = world.workspace.database().connect();
    let lock = "BEGIN; LOCK TABLE hook_events IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).expect("a lock");
    // Sometimes longer than the server's lock_timeout.
    if rng.percent(20) && !world.brief {
        rng.pause(15_000..18_000);
    } else {
        rng.pause(300..4_000);
    }
    other.batch_execute("ROLLBACK").expect("a lock is released");
}

/// Sets a statement timeout of 1 ms for the role. The server's session setting overrides it.
pub(crate) fn statement_timeout(world: &World, rng: &mut Rng) {
    world.sql(&format!("ALTER ROLE {ROLE} SET statement_timeout = '1ms'"));
    end_sessions(world);
    rng.pause(300..2_000);
    world.sql(&format!("ALTER ROLE {ROLE} RESET statement_timeout"));
    end_sessions(world);
}

/// Fails over to a copy that lacks the last commits.
pub(crate) fn failover(world: &World, rng: &mut Rng) {
    world.cluster().stop_fast();
    world.cluster().back_up();
    world.cluster().start();
    rng.pause(500..2_500);
    if rng.percent(50) {
        world.cluster().stop();
    } else {
        world.cluster().stop_fast();
    }
    world.cluster().restore();
    world.cluster().start();
}
