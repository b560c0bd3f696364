//! A journal and a database that do not match: one of them was copied, restored, emptied or shared.

use std::path::Path;

use crate::harness::{Cluster, Server, Storage, Workspace, assert_exactly, event};

#[test]
fn servers_starting_together_on_an_empty_database_all_deliver() {
    let workspace = Workspace::postgres();
    let others: Vec<Workspace> = (0..6).map(|_| Workspace::new(Storage::Jsonl)).collect();
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let start = |(number, other): (usize, &Workspace)| {
            let server = workspace.server().directory(other.directory()).start();
            server.client.event(&event(&number.to_string())).expect(202);
            server
        };
        let threads: Vec<_> =
            others.iter().enumerate().map(|one| scope.spawn(move || start(one))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the server starts")).collect()
    });
    for server in &servers {
        workspace.settled(server);
        assert!(!server.log().contains("ERROR"), "{}", server.log());
    }
    assert_exactly(&workspace.events(), (0..6).map(|number| number.to_string()));
    let each_once = "SELECT (count(*) = max(version))::text FROM hook_schema_versions";
    assert_eq!(workspace.database().query(each_once), ["true"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn a_copied_journal_gets_a_new_id() {
    let (workspace, clone) = (Workspace::postgres_away(), Workspace::jsonl());
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "1").start();
    server.client.batch(&[event("both-1"), event("both-2")]).expect(202);
    server.stop();
    copy(&workspace.journal(), &clone.journal());

    server.restart();
    let cloned = workspace.server().directory(clone.directory()).start();
    server.client.event(&event("original-3")).expect(202);
    cloned.client.event(&event("clone-3")).expect(202);
    workspace.database().create();
    server.client.event(&event("original-4")).expect(202);
    cloned.client.event(&event("clone-4")).expect(202);
    workspace.settled(&server);
    let events = workspace.settled(&cloned);
    let expected = ["both-1", "both-2", "original-3", "clone-3", "original-4", "clone-4"];
    assert_exactly(&events, expected);
}

#[test]
fn a_copy_of_a_delivered_journal_gets_a_new_id() {
    let (workspace, clone) = (Workspace::postgres(), Workspace::jsonl());
    let mut server = workspace.server().start();
    server.client.batch(&[event("both-1"), event("both-2")]).expect(202);
    workspace.settled(&server);
    server.stop();
    copy(&workspace.journal(), &clone.journal());

    server.restart();
    server.client.event(&event("original-3")).expect(202);
    workspace.settled(&server);
    let cloned = workspace.server().directory(clone.directory()).start();
    cloned.client.event(&event("clone-3")).expect(202);
    workspace.settled(&cloned);
    server.client.event(&event("original-4")).expect(202);
    cloned.client.event(&event("clone-4")).expect(202);
    workspace.settled(&server);
    let events = workspace.settled(&cloned);
    let expected = ["both-1", "both-2", "original-3", "clone-3", "original-4", "clone-4"];
    assert_exactly(&events, expected);
}

#[test]
fn deleting_the_position_loses_and_duplicates_nothing() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    workspace.settled(&server);
    server.client.event(&event("3")).expect(202);
    server.kill9();
    workspace.database().execute("DELETE FROM hook_positions");
    server.restart();
    server.client.event(&event("4")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4"]);
}

#[test]
fn changing_the_position_loses_and_duplicates_nothing() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    for (number, position) in ["0", "1", "position - 1", "position + 1000000"].iter().enumerate() {
        server.client.event(&event(&number.to_string())).expect(202);
        workspace.settled(&server);
        server.stop();
        workspace.database().execute(&format!("UPDATE hook_positions SET position = {position}"));
        server.restart();
    }
    server.client.event(&event("last")).expect(202);
    assert_exactly(&workspace.settled(&server), ["0", "1", "2", "3", "last"]);
}

#[test]
fn a_deleted_journal_starts_empty() {
    let workspace = Workspace::postgres();
    let mut server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    workspace.settled(&server);
    server.stop();
    std::fs::remove_dir_all(workspace.journal()).expect("the journal");
    server.restart();
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

/// A failover to a replica without the last commits looks the same.
#[test]
fn events_missing_in_a_restored_database_are_delivered_again() {
    let cluster = Cluster::stopped();
    cluster.start();
    let workspace = Workspace::on(cluster.database());
    let server = workspace.server().start();
    let send = |id: &str| {
        let body = event(id).to_string();
        server.client.post("/events?ack=stored", "application/json", &[], body).expect(202);
    };
    send("1");
    send("2");
    cluster.stop();
    cluster.back_up();
    cluster.start();
    send("3");
    send("4");
    cluster.stop();
    cluster.restore();
    cluster.start();
    send("5");
    assert_exactly(&workspace.settled(&server), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_position_changed_while_the_server_runs_is_detected() {
    let workspace = Workspace::postgres();
    let server = workspace.server().start();
    server.client.batch(&[event("1"), event("2")]).expect(202);
    workspace.settled(&server);
    workspace.database().execute("UPDATE hook_positions SET position = 0");
    let body = event("3").to_string();
    server.client.post("/events?ack=stored", "application/json", &[], body).expect(202);
    server.logged("changed by another process");
    assert_exactly(&workspace.settled(&server), ["1", "2", "3"]);
}
