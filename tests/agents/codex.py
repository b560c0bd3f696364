"""Codex CLI."""

import json
import os
import re

from agent import TYPES, Agent, Figures, Payloads, Tool
from model import call
from sandbox import URL


class Codex(Agent):
    name = "codex"
    package = "@openai/codex"
    version = "0.169.0"
    payloads = Payloads(TYPES | {"Interrupt": "agent_stopped"})
    trusted = ""
    failure = "completed"
    denial = {"denied": "open", "terminal-denied": "open"}
    counts = {"subagent": {"subagent_prompt_submitted": 1}}
    cannot_tell = (
        "failures of commands (telemetry does)",
        "calls that rules or the user deny (telemetry does)",
        "the end of a session in a terminal, which lives on in the background",
    )

    def ends_session(self, scenario):
        return scenario not in ("terminal", "terminal-denied", "compaction")

    def shell(self, command):
        return Tool("exec_command", {"cmd": command}, "Bash")

    def read(self, path):
        return self.shell(f"cat {os.path.basename(path)}")

    def create(self, path, text):
        return self.shell(f"echo '{text.strip()}' > {os.path.basename(path)}")

    def delegate(self, prompt):
        return Tool("multi_agent_v1/spawn_agent", {"message": prompt}, "spawn_agent")

    def denied_tool(self, sandbox):
        return Tool(
            "exec_command",
            {"cmd": "echo forbidden", "sandbox_permissions": "require_escalated", "justification": "May I?"},
            "Bash",
        )

    def asked_tool(self, sandbox):
        return self.denied_tool(sandbox)

    def script(self, scenario, sandbox):
        """The sub-agent runs in the background, so the main agent waits for it."""
        scripts, calls = super().script(scenario, sandbox)
        if scenario == "subagent":
            wait = self.shell("sleep 4")
            scripts["main"].insert(1, call(wait.request))
            calls.append((wait.hook_name, "completed"))
        return scripts, calls

    def environment(self, sandbox):
        return {"KEY_OF_THE_TESTS": "none"}

    def configure(self, sandbox, scenario):
        asks = scenario == "terminal-denied"
        telemetry = f"""
[otel]
log_user_prompt = true
exporter = {{ otlp-http = {{ endpoint = "{URL}/v1/logs", protocol = "binary" }} }}
"""
        sandbox.write(
            "home/.codex/config.toml",
            f"""model = "gpt-5.5"
model_provider = "tests"
approval_policy = "{"on-request" if asks else "never"}"
sandbox_mode = "{"read-only" if asks else "danger-full-access"}"
check_for_update_on_startup = false

[model_providers.tests]
name = "tests"
base_url = "http://127.0.0.1:9101/v1"
wire_api = "responses"
env_key = "KEY_OF_THE_TESTS"
request_max_retries = 0
stream_max_retries = 0

[analytics]
enabled = false

[projects."{sandbox.project}"]
trust_level = "trusted"
{telemetry if sandbox.telemetry else ""}{self.trusted}""",
        )
        if scenario == "denied":
            sandbox.write(
                "home/.codex/rules/default.rules", 'prefix_rule(pattern=["echo", "forbidden"], decision="forbidden")\n'
            )

    def binary(self):
        return self.path("node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex")

    def after_install(self, sandbox, printed):
        """Trusts the hooks, as a person does. The trust holds for the path and the command: once is enough."""
        if self.trusted:
            return
        terminal = sandbox.terminal([self.binary()])
        try:
            terminal.wait_for("hooks can run outside|trust all", 60)
            terminal.pause(1)
            terminal.enter("2")
            terminal.pause(2)
            terminal.enter("/quit")
        finally:
            terminal.end(5)
        with open(os.path.join(sandbox.home, ".codex/config.toml"), encoding="utf-8") as file:
            tables = re.findall(r"^\[hooks\.state.*?(?=^\[(?!hooks\.state)|\Z)", file.read(), re.MULTILINE | re.DOTALL)
        self.trusted = "\n" + "".join(tables)
        if "trusted_hash" not in self.trusted:
            raise RuntimeError("the hooks were not trusted")
        # The terminal may have changed other settings, such as the model.
        self.configure(sandbox, "")

    def headless(self, prompt, scenario):
        return [self.binary(), "exec", "--skip-git-repo-check", "--json", prompt]

    def interactive(self, scenario):
        return [self.binary()]

    def ready(self, terminal):
        """Keeps the model, where a newer one is offered."""
        terminal.wait_for("Use existing model")
        terminal.pause(1)
        terminal.enter("2")
        terminal.pause(2)

    quit_command = "/quit"

    def figures(self, out, turns):
        turns = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        usage = [turn["usage"] for turn in turns if turn.get("type") == "turn.completed"]
        return Figures(
            sum(entry["input_tokens"] for entry in usage), sum(entry["output_tokens"] for entry in usage)
        )
