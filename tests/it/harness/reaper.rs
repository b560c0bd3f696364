//! Cleans up after a test process, however it ends: child processes, mounts and files.
//!
//! The reaper is a shell that reads orders from a pipe. When the pipe closes, because the test
//! process has ended or was killed, the shell ends all registered processes and deletes the scratch
//! directory.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually::eventually;

const SCRIPT: &str = r#"
trap '' HUP INT TERM
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hooks-it.XXXXXX") && chmod 755 "$scratch" || exit
echo "$scratch"
watched=
while read -r order what; do
    if [ "$order" = forget ]; then
        others=
        for one in $watched; do [ "$one" = "$what" ] || others="$others $one"; done
        watched=$others
    else
        watched="$watched $what"
    fi
done
for one in $watched; do
    case $one in
        /*) umount -l "$one" ;;
        *) kill -s "${one%%:*}" "${one#*:}" ;;
    esac
done 2>/dev/null
tries=100
until rm -rf "$scratch" 2>/dev/null || [ $tries = 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
done
"#;

/// Delays `exec` until the process id is registered with the reaper, so that no process escapes.
const GATE: &str = r#"read -r go && exec "$0" "$@" </dev/null"#;

struct Reaper {
    scratch: PathBuf,
    orders: Mutex<ChildStdin>,
    /// Never waited for: the shell outlives this process.
    _shell: Child,
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let orders = Mutex::new(shell.stdin.take().expect("stdin is piped"));
        let mut scratch = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is piped"))
            .read_line(&mut scratch)
            .expect("the reaper's directory");
        assert!(!scratch.is_empty(), "the reaper has no scratch directory");
        Reaper { scratch: PathBuf::from(scratch.trim_end()), orders, _shell: shell }
    })
}

fn order(order: &str, what: &str) {
    let mut orders = reaper().orders.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(orders, "{order} {what}").expect("the reaper listens");
}

/// The scratch directory of this test process, accessible to every user.
pub(crate) fn scratch() -> &'static Path {
    &reaper().scratch
}

/// A new directory for one test, accessible to every user.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch()).expect("a directory")
}

/// A small tmpfs, for tests that fill a disk.
pub(crate) struct SmallDisk {
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    /// Mounts a tmpfs of `bytes`; `None` if mounting is not permitted.
    pub(crate) fn mount(path: PathBuf, bytes: usize) -> Option<Self> {
        std::fs::create_dir(&path).expect("a mount point");
        order("watch", &path.display().to_string());
        let options = format!("size={bytes}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .stderr(Stdio::null())
            .status();
        let disk = Self { path };
        mount.is_ok_and(|status| status.success()).then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount =
            Command::new("umount").arg("-l").arg(&self.path).stderr(Stdio::null()).status();
        drop(unmount);
        order("forget", &self.path.display().to_string());
    }
}

/// A child process that ends when the value is dropped or the test process ends.
pub(crate) struct Process {
    child: Child,
    end_with: Signal,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts a program; `end_with` is the signal that ends it immediately.
    pub(crate) fn spawn(
        program: &Path,
        end_with: Signal,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let mut gate = Command::new("/bin/sh");
        gate.args(["-c", GATE]).arg(program);
        configure(&mut gate);
        let mut child = gate.stdin(Stdio::piped()).spawn().expect("a process");
        order("watch", &token(&child, end_with));
        let mut go = child.stdin.take().expect("stdin is piped");
        writeln!(go, "go").expect("the gate waits");
        Self { child, end_with, status: None }
    }

    /// The pipe, if `configure` requested one.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe, if `configure` requested one.
    pub(crate) fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal unless the process has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.try_wait().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("a child can be signalled");
        }
    }

    /// The exit status, if the process has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
            if self.status.is_some() {
                order("forget", &token(&self.child, self.end_with));
            }
        }
        self.status
    }

    /// Waits for the process to exit.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.try_wait().ok_or("running"))
    }

    /// Ends the process with `end_with`.
    pub(crate) fn end(&mut self) {
        self.signal(self.end_with);
        self.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn token(child: &Child, end_with: Signal) -> String {
    let signal = if end_with == Signal::QUIT { "QUIT" } else { "KILL" };
    format!("{signal}:{}", child.id())
}
