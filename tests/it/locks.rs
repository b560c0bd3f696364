//! Two servers never share a journal.

use std::path::PathBuf;

use crate::harness::{Storage, Workspace, assert_exactly, event};

both!(second_server_on_the_same_journal_fails_to_start, lock_of_a_killed_server_is_released,);

fn lock(workspace: &Workspace, storage: Storage) -> PathBuf {
    match storage {
        Storage::Jsonl => workspace.file().with_extension("jsonl.lock"),
        Storage::Postgres => workspace.journal().join("lock"),
    }
}

fn second_server_on_the_same_journal_fails_to_start(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    let second = workspace.server().run();
    assert_eq!(second.status.code(), Some(1), "{}", second.log);
    let name =
        lock(&workspace, storage).file_name().expect("a name").to_string_lossy().into_owned();
    assert!(second.log.contains(&name), "{}", second.log);
    assert!(second.log.contains("locked by another server"), "{}", second.log);
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.settled(&server), ["1", "2"]);
}

fn lock_of_a_killed_server_is_released(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().start();
    server.kill9();
    assert!(lock(&workspace, storage).exists());
    server.restart();
    server.client.event(&event("1")).expect(202);
}
