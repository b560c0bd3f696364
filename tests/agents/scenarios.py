"""Runs one scenario of an agent and judges it."""

import json
import os
import signal
import statistics
import sys
import time
import traceback

import checks
import fixtures
from checks import Facts, Failed, require
from sandbox import URL, HungServer, Sandbox

PROMPT = "[main] Please do the work."
# Scenarios in which the agent runs without a terminal and the server is there from the start.
HEADLESS = ["basic", "failing", "denied", "subagent", "parallel", "telemetry", "postgres"]
# The same work while something is wrong with the server.
SERVER = ["server-down", "server-hung", "server-restarted", "server-late"]
TERMINAL = ["terminal", "terminal-denied", "compaction"]
RECORDED = ["basic", "failing", "denied", "subagent", "parallel", *TERMINAL]
ALL = [*HEADLESS, *SERVER, *TERMINAL, "overhead"]


class Report:
    """Collects results: (scenario, check, outcome, detail), where the outcome is green, red or limit."""

    def __init__(self, agent, write):
        self.agent, self.write = agent, write

    def check(self, scenario, name, function, *arguments):
        try:
            detail = function(*arguments)
            self.add(scenario, name, "green", detail if isinstance(detail, str) else "")
        except Failed as failure:
            self.add(scenario, name, "red", str(failure))
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            self.add(
                scenario, name, "red", f"{type(error).__name__}: {error} ({os.path.basename(at.filename)}:{at.lineno})"
            )

    def add(self, scenario, name, outcome, detail):
        self.write(
            {"agent": self.agent.name, "scenario": scenario, "check": name, "outcome": outcome, "detail": detail}
        )


class Runner:
    """Runs the scenarios of one agent, one after the other."""

    def __init__(self, agent, model, directory, program, postgres, report):
        self.agent, self.model, self.directory, self.program = agent, model, directory, program
        self.postgres, self.report = postgres, report
        self.sandbox = None

    def reason_to_skip(self, scenario):
        reason = self.agent.skipped.get(scenario)
        if scenario in TERMINAL and not self.agent.interactive(scenario):
            reason = reason or "not tried in a terminal"
        return reason

    def run(self, scenario):
        if reason := self.reason_to_skip(scenario):
            return self.report.add(scenario, "run", "limit", reason)
        self.sandbox = Sandbox(self.directory, self.program, self.agent.tools)
        try:
            if scenario == "overhead":
                self.overhead()
            else:
                self.scenario(scenario)
        except Exception:
            self.report.add(scenario, "run", "red", traceback.format_exc(limit=-3).strip().replace("\n", " | "))
        finally:
            self.sandbox.stop_server()
            self.sandbox.keep_as(os.path.join(self.directory, "runs", scenario))

    def prepare(self, scenario, install=True):
        """Settings, `install`, and what a person does after it. Returns the settings files before `install`."""
        sandbox, agent = self.sandbox, self.agent
        sandbox.telemetry = scenario == "telemetry"
        sandbox.postgres = self.postgres() if scenario == "postgres" else None
        sandbox.agent_environment = agent.environment(sandbox)
        agent.configure(sandbox, scenario)
        scripts, calls = agent.script(scenario, sandbox)
        self.model.load(scripts)
        before = sandbox.files()
        if install:
            done = sandbox.run("install", agent.name)
            self.report.check(
                scenario,
                "install",
                lambda: require(done.returncode == 0, f"exit {done.returncode}: {done.stderr.strip()[:300]}"),
            )
            after = sandbox.files()
            self.settings = {
                path: before.get(path) for path in {*before, *after} if before.get(path) != after.get(path)
            }
            self.model.load({})
            agent.after_install(sandbox, done.stdout)
            self.model.load(scripts)
        return calls

    def uninstall(self, scenario):
        """`uninstall` restores the settings, byte for byte; what a person has written, the person deletes."""

        def restored():
            if not self.agent.is_installed:
                return require(not self.settings, f"install changed {', '.join(self.settings)}")
            done = self.sandbox.run("uninstall", self.agent.name)
            require(done.returncode == 0, f"exit {done.returncode}: {done.stderr.strip()[:300]}")
            now = self.sandbox.files()
            wrong = [
                os.path.relpath(path, self.directory)
                for path, text in self.settings.items()
                if now.get(path) != text and not is_backup(path)
            ]
            require(self.settings, "install changed no file")
            require(not wrong, f"not restored: {', '.join(wrong)}")

        self.report.check(scenario, "uninstall", restored)

    def scenario(self, scenario):
        sandbox, agent = self.sandbox, self.agent
        calls = self.prepare(scenario)
        hung = HungServer() if scenario == "server-hung" else None
        if scenario not in ("server-down", "server-hung", "server-late"):
            sandbox.start_server()
        if scenario == "basic" and agent.is_checked_by_doctor:
            self.report.check(scenario, "doctor", self.doctor)
        self.schedule(scenario)
        began = time.monotonic()
        if scenario in TERMINAL:
            code, out, err = self.in_terminal(scenario), "", ""
        else:
            code, out, err = sandbox.headless(agent.headless(PROMPT, scenario), agent.patience)
        seconds = time.monotonic() - began
        if hung:
            hung.stop()
        if scenario in ("server-down", "server-hung"):
            sandbox.start_server()
        if scenario in SERVER:
            sandbox.flush_spool()
        self.judge(scenario, calls, code, out, err, seconds)
        self.uninstall(scenario)

    def doctor(self):
        done = self.sandbox.run("doctor")
        line = next(
            (line.strip() for line in done.stdout.splitlines() if f" {self.agent.name}:" in line), "no line of the agent"
        )
        require(line.startswith("ok"), line)

    def schedule(self, scenario):
        """What happens to the server during the run."""
        sandbox = self.sandbox

        def before_turn(marker, number):
            if marker != "main":
                return
            if scenario in ("basic", "postgres") and number == 1:
                sandbox.wait_for_state("running")
            if scenario == "server-restarted" and number == 1:
                sandbox.stop_server(signal.SIGKILL)
            if scenario in ("server-restarted", "server-late") and number == 2:
                sandbox.start_server()

        self.model.before_turn = before_turn

    def judge(self, scenario, calls, code, out, err, seconds):
        sandbox, agent, check = self.sandbox, self.agent, self.report.check
        tool = agent.subagent_tool(sandbox)
        sub_calls = [(tool.hook_name, "completed")] if scenario == "subagent" else []
        check(
            scenario,
            "script",
            lambda: require(
                any(turn["marker"] == "main" for turn in self.model.turns_served),
                f"the model was never asked; exit {code}: {(err or out)[-300:]}",
            ),
        )
        events = sandbox.settled_events(expected=3 + 2 * len(calls + sub_calls))
        sessions = sandbox.sessions()
        details = {
            session["session_id"]: {**session, **sandbox.get(f"/sessions/{session['session_id']}")}
            for session in sessions
        }
        with open(os.path.join(sandbox.logs, "events.json"), "w", encoding="utf-8") as file:
            json.dump({"events": events, "sessions": details, "turns": self.model.turns_served}, file, indent=1)
        facts = Facts(agent, scenario, calls, sub_calls, events, sessions, details)
        facts.compactions = int(scenario == "compaction")
        check(scenario, "events", facts.events_once)
        check(scenario, "names", facts.names)
        check(scenario, "pairs", facts.pairs)
        check(scenario, "outcomes", facts.outcomes)
        if scenario == "subagent" and agent.has_subagents:
            check(scenario, "subagents", facts.subagents)
        check(scenario, "last state", facts.last_state)
        if scenario in ("basic", "subagent", "telemetry", "postgres"):
            check(scenario, "session", facts.session_view, sandbox, PROMPT)
        check(scenario, "states", lambda: require(not self.model.problems, "; ".join(self.model.problems)))
        check(scenario, "screen", checks.quiet_screen, agent, out + err)
        check(scenario, "exit", lambda: require(code == 0, f"exit {code}: {(err or out)[-300:].strip()}"))
        turns = [turn["tokens"] for turn in self.model.turns_served if turn["tokens"] and turn["marker"]]
        if scenario == agent.tokens_in:
            check(scenario, "tokens", lambda: facts.tokens(agent.figures(out, turns)))

    def expect_waiting(self, scenario, name):
        """The session waits for a person; there is no server while payloads are recorded."""
        if self.sandbox.has_server():
            self.report.check(scenario, name, self.sandbox.wait_for_state, "waiting")

    def in_terminal(self, scenario):
        command = self.agent.interactive(scenario)
        terminal = self.sandbox.terminal(command)
        try:
            self.agent.ready(terminal)
            terminal.enter(PROMPT)
            if scenario == "terminal-denied":
                self.agent.wait_for_question(terminal)
                self.expect_waiting(scenario, "state at the question")
                terminal.type("\x1b")
                terminal.pause(2)
                self.expect_waiting(scenario, "state after the denial")
            else:
                terminal.wait_until(
                    lambda: any(not turn.get("calls") and turn["turn"] >= 3 for turn in self.model.turns_served), 30
                )
                terminal.pause(1)
                self.expect_waiting(scenario, "state after the answer")
            if scenario == "compaction":
                terminal.enter(self.agent.compact_command)
                terminal.pause(6)
                self.expect_waiting(scenario, "state after compaction")
            terminal.enter(self.agent.quit_command)
        finally:
            code = terminal.end(15)
            with open(os.path.join(self.sandbox.logs, "screen.txt"), "w", encoding="utf-8") as file:
                file.write(terminal.screen())
        self.report.check(scenario, "terminal", checks.quiet_screen, self.agent, terminal.screen())
        return code

    def record(self, fixtures_directory):
        """Records the payloads of all hooks and writes them as fixtures."""
        recorded = []
        for scenario in RECORDED:
            if not self.reason_to_skip(scenario):
                recorded += [(scenario, *entry) for entry in self.record_scenario(scenario)]
        self.report.check("record", "payloads", fixtures.write, self.agent, recorded, self.directory, fixtures_directory)

    def record_scenario(self, scenario):
        """Returns the payloads of a run as (arguments of the hook's command, payload)."""
        self.sandbox = Sandbox(self.directory, self.program, self.agent.tools)
        payloads = os.path.join(self.sandbox.logs, "payloads")
        os.makedirs(payloads)
        self.prepare(scenario)
        recorder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recorder.py")
        os.rename(self.program, self.program + ".kept")
        self.sandbox.write(self.program, f'#!/bin/sh\nexec {sys.executable} -B {recorder} {payloads} "$@"\n', 0o755)
        try:
            if scenario in TERMINAL:
                self.in_terminal(scenario)
            else:
                self.sandbox.headless(self.agent.headless(PROMPT, scenario), self.agent.patience)
            time.sleep(1)
            names = sorted(name for name in os.listdir(payloads) if not name.startswith("."))
            entries = [json.loads(read(os.path.join(payloads, name))) for name in names]
        finally:
            os.rename(self.program + ".kept", self.program)
            self.sandbox.keep_as(os.path.join(self.directory, "runs", f"record-{scenario}"))
        return [(entry["arguments"], entry["payload"]) for entry in entries]

    def overhead(self):
        """Time added to each tool call by hooks: no hooks, server up, down and hung."""
        medians = {}
        for name in ("none", "up", "down", "hung"):
            self.prepare("overhead", install=name != "none")
            hung = HungServer() if name == "hung" else None
            if name == "up":
                self.sandbox.start_server()
            self.sandbox.headless(self.agent.headless(PROMPT, "overhead"), self.agent.patience)
            self.sandbox.stop_server()
            if hung:
                hung.stop()
            turns = [turn for turn in self.model.turns_served if turn["marker"] == "main"]
            gaps = [later["received_at"] - turn["answered_at"] for turn, later in zip(turns, turns[1:])]
            medians[name] = statistics.median(gaps) * 1000 if gaps else None
            self.sandbox.keep_as(os.path.join(self.directory, "runs", f"overhead-{name}"))
            self.sandbox = Sandbox(self.directory, self.program, self.agent.tools)
        base = medians.pop("none")
        added = {name: round(value - base) for name, value in medians.items() if value is not None and base is not None}
        text = ", ".join(f"{name} {value:+d} ms" for name, value in added.items())

        def bounded():
            require(len(added) == 3, f"the agent did not run: {text}")
            # A hook may wait for `emit` for two seconds at most; a tool call has two hooks.
            require(added["hung"] < 4500 and added["up"] < 1000 and added["down"] < 1000, text)
            return text

        self.report.check("overhead", "time per tool call", bounded)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def is_backup(path):
    return (
        ".bak" in os.path.basename(path) or ".backup" in os.path.basename(path) or ".before" in os.path.basename(path)
    )


__all__ = ["ALL", "URL", "Report", "Runner"]
