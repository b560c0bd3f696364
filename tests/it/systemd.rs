//! The units for systemd: valid, and with a small exposure. Nothing here starts them, which needs a running systemd.

use std::path::Path;
use std::process::Command;

use crate::harness::Workspace;

/// Copies a unit, with the program under test instead of the installed one, and runs `systemd-analyze` on it.
#[track_caller]
fn analyze(unit: &str, installed: &str, arguments: &[&str]) -> String {
    let workspace = Workspace::jsonl();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(unit);
    let text = std::fs::read_to_string(&unit).expect("a unit");
    let start = format!("ExecStart={installed}\n");
    assert!(text.contains(&start), "{text}");
    let here = format!("ExecStart={}\n", env!("CARGO_BIN_EXE_hooks-backend"));
    let copy = workspace.directory().join("hooks-backend.service");
    std::fs::write(&copy, text.replace(&start, &here)).expect("a file");
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(&copy).env("XDG_RUNTIME_DIR", workspace.directory());
    let output = command.output().expect("systemd-analyze is installed; see scripts/test");
    let [out, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && errors.is_empty(), "{out}{errors}");
    out
}

#[test]
fn unit_of_a_machine_is_valid_and_confined() {
    let installed = "/usr/bin/hooks-backend";
    analyze("hooks-backend.service", installed, &["verify"]);
    // In tenths, of 100 without any confinement.
    analyze("hooks-backend.service", installed, &["security", "--offline=yes", "--threshold=15"]);
}

#[test]
fn unit_of_a_user_is_valid() {
    let installed = "%h/.cargo/bin/hooks-backend";
    analyze("user/hooks-backend.service", installed, &["--user", "verify"]);
}
