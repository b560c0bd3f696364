//! Queries by `event_id` or `tool_use_id` without a session. In PostgreSQL they use bloom filters.

use serde_json::{Value, json};

use crate::harness::eventually::when;
use crate::harness::postgres::Database;
use crate::harness::{Server, Storage, Workspace, assert_exactly, eventually};

both!(event_is_found_by_id_with_any_other_filter);

/// The date some days ago, as `2026-11-23`.
fn day(days_ago: i64) -> String {
    let day = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days_ago);
    day.to_string()[..10].to_owned()
}

fn at(day: &str, id: &str) -> Value {
    json!({
        "event_id": id, "event_type": "tool_execution_completed", "session_id": format!("s-{id}"),
        "timestamp": format!("{day}T12:00:00Z"), "data": {"tool_name": "Bash", "tool_use_id": format!("u-{id}")},
    })
}

fn ask(server: &Server, query: &str) -> Vec<Value> {
    let mut answer = server.client.get(&format!("/events?{query}"), &[]).expect(200).json();
    serde_json::from_value(answer["events"].take()).expect("events")
}

fn event_is_found_by_id_with_any_other_filter(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let days = [day(1), day(2), day(3), "1999-01-01".to_owned()];
    let events: Vec<Value> = days.iter().map(|day| at(day, day)).collect();
    server.client.batch(&events).expect(202);
    crate::reading::shown(&server.client, events.len());
    for id in &days {
        assert_exactly(&ask(&server, &format!("event_id={id}")), [id]);
        assert_exactly(&ask(&server, &format!("tool_use_id=u-{id}&order=asc")), [id]);
        assert_exactly(&ask(&server, &format!("event_id={id}&tool_use_id=u-{id}&q=bash")), [id]);
        let within = format!("since={id}T12:00:00Z&until={id}T12:00:01Z");
        assert_exactly(&ask(&server, &format!("{within}&tool_use_id=u-{id}&tool_name=Bash")), [id]);
        for nothing in [
            format!("event_id={id}&event_type=other"),
            format!("event_id={id}&tool_use_id=u"),
            format!("event_id={id}&until={id}T12:00:00Z"),
            format!("event_id={id}&since={id}T12:00:01Z"),
            format!("event_id={id}&session_id=s"),
        ] {
            assert_eq!(ask(&server, &nothing), [] as [Value; 0], "{nothing}");
        }
        let get = |path: String| server.client.get(&path, &[]).expect(200).json();
        assert_eq!(get(format!("/stats?since=1990-01-01&event_id={id}"))["events"], 1);
        let sessions = get(format!("/sessions?since=1990-01-01&tool_use_id=u-{id}"));
        assert_eq!(sessions["sessions"][0]["session_id"], format!("s-{id}"), "{sessions}");
    }
}

const INDEXES: &str = "pg_stat_user_indexes JOIN pg_inherits ON inhrelid = indexrelid
     WHERE inhparent = 'hook_events_ids'::regclass";

/// Waits until a partition's index has more than its first two pages, which have no filters.
#[track_caller]
fn filled(database: &Database, day: &str) {
    let partition = format!("hook_events_{}", day.replace('-', ""));
    let pages = format!(
        "SELECT (pg_relation_size(indexrelid) / 8192)::text FROM {INDEXES} AND relname = '{partition}'"
    );
    eventually("an index of ids has filters", || {
        when(database.query(&pages), |pages| pages.iter().all(|pages| pages != "2"))
    });
}

#[test]
fn filters_of_a_past_day_are_filled_and_no_other_index_is_scanned() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.batch(&[at(&day(3), "1"), at(&day(1), "2")]).expect(202);
    workspace.settled(&server);
    filled(workspace.database(), &day(3));
    filled(workspace.database(), &day(1));
    assert_exactly(&ask(&server, "event_id=1&event_type=tool_execution_completed"), ["1"]);
    assert_exactly(&ask(&server, "tool_use_id=u-2&tool_name=Bash"), ["2"]);
    // Inserts check the primary key for duplicates; queries scan no other index.
    let others = "SELECT DISTINCT indexrelname::text FROM pg_stat_user_indexes
                  WHERE idx_scan > 0 AND relname ~ '^hook_events_[0-9]'
                      AND indexrelname !~ '_event_id_tool_use_id_idx$'";
    let scans = format!("SELECT sum(idx_scan)::text FROM {INDEXES} AND relname ~ '_[0-9]{{8}}$'");
    eventually("each index of ids is scanned by each query", || {
        let scans = workspace.database().query(&scans);
        when(scans, |scans| scans[0].parse::<usize>().is_ok_and(|scans| scans >= 4))
    });
    assert_eq!(workspace.database().query(others), [] as [&str; 0]);
}

#[test]
fn full_ranges_of_the_current_day_get_filters_but_the_last_ranges_do_not() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    let tomorrow = day(-1);
    for batch in 0..3 {
        let events: Vec<Value> = (0..5_000)
            .map(|number| {
                let id = format!("{batch}-{number}");
                json!({"event_id": id, "event_type": "a", "session_id": "s", "timestamp": tomorrow})
            })
            .collect();
        server.client.batch(&events).expect(202);
    }
    workspace.settled(&server);
    filled(workspace.database(), &tomorrow);
    assert_exactly(&ask(&server, "event_id=0-0"), ["0-0"]);
    assert_exactly(&ask(&server, "event_id=2-4999"), ["2-4999"]);
    // An insert into a range with filters rewrites them, so the last ranges have none yet.
    let index = format!(
        "SELECT brin_summarize_new_values(indexrelid)::text FROM {INDEXES}
         AND relname = 'hook_events_{}'",
        tomorrow.replace('-', "")
    );
    assert_ne!(workspace.database().query(&index), ["0"]);
}

#[test]
fn tables_without_the_index_can_be_queried_and_the_log_has_the_statement_that_creates_it() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.event(&at(&day(1), "1")).expect(202);
    workspace.settled(&server);
    drop(server);
    workspace.database().execute("DROP INDEX hook_events_ids");
    let server = workspace.server().start();
    server.client.event(&at(&day(2), "2")).expect(202);
    workspace.settled(&server);
    assert_exactly(&ask(&server, "tool_use_id=u-1"), ["1"]);
    assert_exactly(&ask(&server, "event_id=2"), ["2"]);
    let log = server.log();
    let statement = log.lines().find_map(|line| line.split_once("statement="));
    let (_, statement) = statement.unwrap_or_else(|| panic!("{log}"));
    workspace.database().execute(statement);
    drop(server);
    let server = workspace.server().start();
    assert_exactly(&ask(&server, "tool_use_id=u-2"), ["2"]);
    assert!(!server.log().contains("statement="), "{}", server.log());
}
