//! Modes of files: events contain secrets, so the server's files are for its user alone, or its group.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Server, Storage, Workspace, event};

both!(
    new_files_are_private_whatever_the_umask,
    files_can_be_shared_with_a_group,
    existing_modes_are_kept_with_a_warning,
);

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// All files and directories below one, which is included.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(tree(&path)) } else { found.push(path) }
    }
    found
}

/// Makes a server write files of all kinds, under this umask.
fn filled(storage: Storage, umask: &str, file_mode: &str) -> Workspace {
    let workspace = Workspace::new(storage);
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    let start = || {
        let server = workspace.server().set("JSONL_ROTATE", "1MiB").set("FILE_MODE", file_mode);
        server.wrapped(["/bin/sh", "-c", &script]).ready().start()
    };
    let mut server = start();
    for number in 0..5 {
        let mut event = event(&number.to_string());
        event["data"] = json!({ "text": "x".repeat(400 << 10) });
        server.client.batch(&[event, json!({})]).expect(202);
    }
    crate::reading::shown(&server.client, 5);
    server.kill9();
    let newest = match storage {
        Storage::Jsonl => workspace.file(),
        Storage::Postgres => workspace.journal_files("seg").pop().expect("a segment"),
    };
    let whole = std::fs::read(&newest).expect("a file");
    std::fs::write(&newest, [&whole, &b"{\"torn"[..]].concat()).expect("written");
    let server = start();
    crate::reading::shown(&server.client, 5);
    workspace
}

fn new_files_are_private_whatever_the_umask(storage: Storage) {
    for umask in ["0", "0777"] {
        let workspace = filled(storage, umask, "");
        let files = tree(&workspace.directory().join(".agentic"));
        let kinds: &[&str] = match storage {
            Storage::Jsonl => &["jsonl", "index", "lock", "keys", "token", "torn"],
            Storage::Postgres => &["seg", "torn", "jsonl"],
        };
        for kind in kinds {
            let is_kind = |path: &&PathBuf| path.extension().is_some_and(|found| found == *kind);
            assert!(files.iter().any(|path| is_kind(&path)), "no {kind} in {files:?}");
        }
        for path in files {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

fn files_can_be_shared_with_a_group(storage: Storage) {
    for (file_mode, file, directory) in [("0640", 0o640, 0o750), ("660", 0o660, 0o770)] {
        let workspace = filled(storage, "077", file_mode);
        for path in tree(&workspace.directory().join(".agentic")) {
            // SQLite makes no file writable for a group; only the server writes the index.
            let is_index = path.to_str().is_some_and(|path| path.contains(".index"));
            let expected = if path.is_dir() { directory } else { file };
            let expected = if is_index { 0o640 } else { expected };
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

fn existing_modes_are_kept_with_a_warning(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    assert!(!server.log().contains("other users"), "{}", server.log());
    let (file, directory) = match storage {
        Storage::Jsonl => (workspace.file(), workspace.file().with_file_name("")),
        Storage::Postgres => {
            (workspace.journal_files("seg").pop().expect("a segment"), workspace.journal())
        }
    };
    set_permissions(&directory, Permissions::from_mode(0o755)).expect("owned");
    set_permissions(&file, Permissions::from_mode(0o644)).expect("owned");
    server.restart();
    server.client.event(&event("2")).expect(202);
    crate::reading::shown(&server.client, 2);
    assert_eq!((mode(&directory), mode(&file)), (0o755, 0o644));
    server.logged("other users can access");

    let doctor = || {
        let url = format!("http://{}", server.client.address);
        Server::builder()
            .argument("doctor")
            .set("HOOKS_URL", url)
            .set("HOME", "/nowhere")
            .run()
            .output
    };
    let output = doctor();
    let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(output.contains("other users can access") && output.contains("chmod 0"), "{output}");
    assert!(storage == Storage::Postgres || output.contains(name), "{output}");
    // Only for those who may read the events.
    let open = server.client.send_once("GET", "/health", &[], b"").expect("a response").text;
    assert!(open.contains("healthy") && !open.contains("other users"), "{open}");

    set_permissions(&directory, Permissions::from_mode(0o700)).expect("owned");
    set_permissions(&file, Permissions::from_mode(0o600)).expect("owned");
    assert!(!doctor().contains("other users"), "{}", doctor());
}

#[test]
fn exported_files_are_private() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    let url = format!("http://{}", server.client.address);
    for format in ["ndjson", "csv", "parquet"] {
        let file = workspace.directory().join(format);
        let export = ["export", "--format", format, "--output", file.to_str().expect("UTF-8")];
        let command =
            export.iter().fold(Server::builder(), crate::harness::server::Builder::argument);
        let command = command.wrapped(["/bin/sh", "-c", "umask 0; exec \"$0\" \"$@\""]);
        let ended = command.set("HOOKS_URL", &url).run();
        assert!(ended.status.success(), "{}", ended.log);
        assert_eq!(mode(&file), 0o600, "{format}");
    }
}
