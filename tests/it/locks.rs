//! Two servers never share a journal.

use std::path::PathBuf;

use crate::harness::{Place, Storage, assert_exactly, event};

both!(a_second_server_on_the_same_journal_refuses_to_start, the_lock_of_a_killed_server_is_free,);

fn lock(place: &Place, storage: Storage) -> PathBuf {
    match storage {
        Storage::Jsonl => place.file().with_extension("jsonl.lock"),
        Storage::Postgres => place.journal().join("lock"),
    }
}

fn a_second_server_on_the_same_journal_refuses_to_start(storage: Storage) {
    let place = Place::new(storage);
    let server = place.server().start();
    server.client.event(&event("1")).expect(202);
    let second = place.server().run();
    assert_eq!(second.status.code(), Some(1), "{}", second.log);
    let name = lock(&place, storage).file_name().expect("a name").to_string_lossy().into_owned();
    assert!(second.log.contains(&name), "{}", second.log);
    assert!(second.log.contains("locked by another server"), "{}", second.log);
    server.client.event(&event("2")).expect(202);
    assert_exactly(&place.settled(&server), ["1", "2"]);
}

fn the_lock_of_a_killed_server_is_free(storage: Storage) {
    let place = Place::new(storage);
    let mut server = place.server().start();
    server.kill9();
    assert!(lock(&place, storage).exists());
    server.restart();
    server.client.event(&event("1")).expect(202);
}
