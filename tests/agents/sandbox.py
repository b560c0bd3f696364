"""A home, a project and a server for one run of an agent, on the loopback interface of an own network namespace."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from terminal import Terminal

PORT = 8080
URL = f"http://127.0.0.1:{PORT}"
# Sessions of the harness itself.
FLUSH_SESSION = "flush-of-the-spool"


def wait_until(condition, seconds=10.0):
    """Polls a condition; returns its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


class HungServer:
    """Accepts connections and never responds."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", PORT), backlog=128)
        self._connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                self._connections.append(self._listener.accept()[0])
        except OSError:
            pass

    def stop(self):
        # A blocked accept keeps the port: shutdown ends it.
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in [self._listener, *self._connections]:
            end.close()


class Postgres:
    """A PostgreSQL cluster on a Unix socket."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory)
        binaries = (
            sorted(path for path in os.scandir("/usr/lib/postgresql")) if os.path.isdir("/usr/lib/postgresql") else []
        )
        self.bin = os.path.join(binaries[-1].path, "bin") if binaries else os.path.dirname(shutil.which("initdb") or "")
        self.user = []
        if os.geteuid() == 0:
            owner = next(
                (name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None
            )
            shutil.chown(directory, owner)
            self.user = ["setpriv", "--reuid", owner, "--clear-groups"]
        self.data = os.path.join(directory, "data")
        command = [os.path.join(self.bin, "initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(self.user + command, check=True, capture_output=True, cwd=directory)
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={directory}", "-c", "fsync=off"]
        self.log = open(os.path.join(directory, "log"), "wb")
        self._process = subprocess.Popen(
            self.user + [os.path.join(self.bin, "postgres"), "-D", self.data, *options],
            stdout=self.log,
            stderr=self.log,
            cwd=directory,
        )
        if not wait_until(lambda: os.path.exists(os.path.join(directory, ".s.PGSQL.5432")), 30):
            raise RuntimeError("PostgreSQL did not start")
        self.url = f"host={directory} user=postgres dbname=postgres"

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


class Sandbox:
    """The directories of an agent are the same in each run, because some agents bind trust to paths."""

    def __init__(self, directory, program, tools):
        self.directory = directory
        self.home = os.path.join(directory, "home")
        self.project = os.path.join(directory, "project")
        self.data = os.path.join(directory, "server")
        self.logs = os.path.join(directory, "logs")
        self.temporary = os.path.join(directory, "tmp")
        for path in (self.home, self.project, self.data, self.logs, self.temporary):
            os.makedirs(path)
        self.program = program
        # Directory with the installed agents and Node.
        self.tools = tools
        self.telemetry = False
        self.postgres = None
        self.agent_environment = {}
        self._server = None
        self.commands = []
        self.write("project/notes.txt", "remember the milk\n")

    def write(self, path, text, mode=0o644):
        path = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text if isinstance(text, str) else json.dumps(text, indent=2) + "\n")
        os.chmod(path, mode)
        return path

    def environment(self, **more):
        values = {
            "PATH": f"{self.tools}/node/node_modules/node/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": self.home,
            "USER": "dev",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "TMPDIR": self.temporary,
            **self.agent_environment,
            **more,
        }
        return {name: value for name, value in values.items() if value is not None}

    # The server.

    def start_server(self):
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.data}
        if self.postgres:
            environment["DATABASE_URL"] = self.postgres.url
        log = open(os.path.join(self.logs, "server.log"), "ab")
        self._server = subprocess.Popen([self.program], cwd=self.data, env=environment, stdout=log, stderr=log)
        if not wait_until(self.ready, 20):
            raise RuntimeError("the server did not become ready")

    def ready(self):
        try:
            self.get("/events?limit=1")
            return True
        except OSError:
            return False

    def has_server(self):
        return self._server is not None

    def stop_server(self, number=signal.SIGTERM):
        if self._server:
            self._server.send_signal(number)
            self._server.wait(20)
            self._server = None

    def get(self, path):
        token = "journal/token" if self.postgres else "analytics/events.jsonl.token"
        with open(os.path.join(self.data, ".agentic", token)) as file:
            name, _, value = file.read().strip().partition(": ")
        request = urllib.request.Request(URL + path, headers={name: value})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def events(self):
        """All stored events, in order of time, without those of the harness and of `doctor`."""
        events, cursor = [], ""
        while cursor is not None:
            page = self.get(f"/events?limit=1000&order=asc{cursor and '&cursor=' + cursor}")
            events += page["events"]
            cursor = page["next_cursor"]
        return [event for event in events if not is_ours(event["session_id"])]

    def sessions(self):
        return [session for session in self.get("/sessions")["sessions"] if not is_ours(session["session_id"])]

    def states(self):
        """The states of the sessions that are no sub-agent's, newest first."""
        return [session["state"] for session in self.sessions() if not session.get("parent_session_id")]

    def wait_for_state(self, state, seconds=5):
        if not wait_until(lambda: self.states()[:1] == [state], seconds):
            raise AssertionError(f"the session should be {state}; sessions: {self.states()}")

    def settled_events(self, expected, seconds=8):
        """The events, once there are as many as expected, or their number has stopped to grow."""
        end, last, since = time.monotonic() + seconds, None, time.monotonic()
        while True:
            events = self.events()
            if last is None or len(events) != len(last):
                last, since = events, time.monotonic()
            quiet = time.monotonic() - since
            if quiet > (0.7 if len(events) >= expected else 3) or time.monotonic() > end:
                return events
            time.sleep(0.1)

    # Commands.

    def run(self, *arguments, input=""):
        """Runs hooks-backend as the user would."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.project,
            env=self.environment(),
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
        )
        with open(os.path.join(self.logs, "commands.log"), "a", encoding="utf-8") as log:
            log.write(f"$ hooks-backend {' '.join(arguments)}\n{done.stdout}{done.stderr}(exit {done.returncode})\n")
        return done

    def flush_spool(self):
        """Delivers the spool, as the next hook of any session does."""
        payload = {"session_id": FLUSH_SESSION, "hook_event_name": "Notification", "message": "flush"}
        self.run("emit", "--agent", "claude-code", "--url", URL, input=json.dumps(payload))

    def headless(self, command, seconds=150):
        """Runs the agent without a terminal; returns its exit status and what it printed."""
        process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        for name, data in (("agent.stdout", out), ("agent.stderr", err)):
            with open(os.path.join(self.logs, name), "wb") as file:
                file.write(data)
        return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def terminal(self, command):
        return Terminal(command, self.project, self.environment(TERM="xterm-256color", NO_COLOR=None))

    def files(self):
        """The content of all small files in home and project."""
        found = {}
        for top in (self.home, self.project):
            for directory, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(directory, name)
                    if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
                        with open(path, "rb") as file:
                            found[path] = file.read()
        return found

    def keep_as(self, path):
        """Moves the directories away: the next run needs their place."""
        end_other_processes()
        os.makedirs(path)
        for name in ("home", "project", "server", "logs", "tmp"):
            if os.path.exists(os.path.join(self.directory, name)):
                os.rename(os.path.join(self.directory, name), os.path.join(path, name))


def is_ours(session_id):
    return session_id == FLUSH_SESSION or session_id.startswith("hooks-backend-doctor")


def end_other_processes():
    """Kills what agents left running. Only this process and PostgreSQL remain in the process namespace."""
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        if pid in (1, os.getpid()):
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"postgres" not in file.read():
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
