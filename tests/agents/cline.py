"""Cline CLI."""

import subprocess

from agent import Agent, Payloads, Tool


class Cline(Agent):
    name = "cline"
    package = "cline"
    version = "3.0.65"
    parallel = 2
    cannot_tell = ("prompts, without a terminal",)
    is_installed = False
    is_checked_by_doctor = False
    # With `--json` it prints a line for each of its events that a hook could have.
    own_noise = ('"type":"hook_event"',)
    # The hook of prompts does not run without a terminal; the end of the task is the end of the session.
    without_types = frozenset({"user_prompt_submitted", "agent_stopped", "subagent_started", "subagent_stopped"})
    skipped = {"denied": "has no rules that deny a tool without a person", "telemetry": "has no OpenTelemetry"}

    payloads = Payloads(
        {
            "agent_start": "session_started",
            "agent_end": "session_completed",
            "tool_call": "tool_execution_started",
            "tool_result": "tool_execution_completed",
        },
        session=("taskId",),
        tool=("tool_call.name", "tool_result.name"),
        tool_use=("tool_call.id", "tool_result.id"),
        event=("hookName",),
        subagent=(),
    )

    def shell(self, command):
        return Tool("run_commands", {"commands": [command]}, "run_commands")

    def read(self, path):
        return Tool("read_files", {"files": [{"path": path}]}, "read_files")

    def create(self, path, text):
        return Tool("editor", {"path": path, "new_text": text}, "editor")

    def delegate(self, prompt):
        return Tool("spawn_agent", {"systemPrompt": "You look around.", "task": prompt}, "spawn_agent")

    def after_install(self, sandbox, printed):
        """Runs the printed commands."""
        commands = printed[printed.index("mkdir ") : printed.index("\n\nand start it")]
        subprocess.run(["sh", "-c", commands], env=sandbox.environment(), check=True)

    def environment(self, sandbox):
        return {"CLINE_TELEMETRY_DISABLED": "1", "CLINE_NO_AUTO_UPDATE": "1", "DO_NOT_TRACK": "1"}

    # As `install` says; the project is the working directory.
    hooks = ("--hooks-dir", "../home/.cline/hooks")

    def binary(self):
        return self.path("node_modules/@cline/cli-linux-x64/bin/cline")

    def configure(self, sandbox, scenario):
        login = [
            "auth",
            "openai-compatible",
            "-k",
            "key-of-the-tests",
            "-m",
            "scripted-model",
            "-b",
            "http://127.0.0.1:9101/v1",
        ]
        subprocess.run(
            [self.binary(), *login],
            env=sandbox.environment(),
            cwd=sandbox.project,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def headless(self, prompt, scenario):
        return [self.binary(), "-P", "openai-compatible", "-m", "scripted-model", "--json", *self.hooks, prompt]
