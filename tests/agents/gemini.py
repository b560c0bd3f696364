"""Gemini CLI."""

import json

from agent import Agent, Figures, Payloads, Tool
from sandbox import URL


class Gemini(Agent):
    name = "gemini"
    package = "@google/gemini-cli"
    version = "0.61.0"
    has_tool_ids = False
    # The hooks know nothing of sub-agents.
    without_types = frozenset({"subagent_started", "subagent_stopped", "context_compacted"})
    has_subagents = False
    uncounted = Agent.uncounted | {"context_size_checked"}
    denial = {"denied": "open", "terminal-denied": "open"}
    # `/quit` runs the hook of the end twice.
    counts = {
        "terminal": {"session_completed": 2},
        "terminal-denied": {"session_completed": 2, "agent_stopped": 0},
        "compaction": {"session_completed": 2},
    }
    cannot_tell = (
        "which events are of sub-agents",
        "calls that rules or the user deny",
        "the end of a compaction",
        "the end of a session in a terminal only once",
    )
    # The status line, and what it prints about the last hook.
    own_noise = ("Executing Hooks?:", "emit --agent", r"^Created execution plan", r"^Expanding hook command", r"^Hook execution for")
    compact_command = "/compress"
    payloads = Payloads(
        {
            "SessionStart": "session_started",
            "SessionEnd": "session_completed",
            "BeforeAgent": "user_prompt_submitted",
            "AfterAgent": "agent_stopped",
            "BeforeTool": "tool_execution_started",
            "AfterTool": "tool_execution_completed",
            "PreCompress": "context_size_checked",
            "Notification": "system_notification",
        }
    )
    settings_file = "home/.gemini/settings.json"

    def shell(self, command):
        return Tool("run_shell_command", {"command": command, "description": "Run a command"}, "run_shell_command")

    def read(self, path):
        return Tool("read_file", {"file_path": path}, "read_file")

    def create(self, path, text):
        return Tool("write_file", {"file_path": path, "content": text}, "write_file")

    def delegate(self, prompt):
        return Tool("invoke_agent", {"agent_name": "generalist", "prompt": prompt}, "invoke_agent")

    def subagent_tool(self, sandbox):
        return self.read(f"{sandbox.project}/notes.txt")

    def environment(self, sandbox):
        return {
            "GEMINI_API_KEY": "key-of-the-tests",
            "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9101",
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "NO_BROWSER": "1",
        }

    def settings(self, sandbox):
        telemetry = {
            "enabled": True,
            "target": "local",
            "otlpEndpoint": URL,
            "otlpProtocol": "http",
            "logPrompts": True,
        }
        return {
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False},
            **({"telemetry": telemetry} if sandbox.telemetry else {}),
        }

    def configure(self, sandbox, scenario):
        sandbox.write(self.settings_file, "// A comment of the user.\n" + json.dumps(self.settings(sandbox), indent=3))
        if scenario == "denied":
            sandbox.write(
                "home/.gemini/policies/deny.toml",
                """[[rule]]
toolName = "run_shell_command"
commandPrefix = "echo forbidden"
decision = "deny"
priority = 900
""",
            )

    def command(self):
        return [self.node(), self.path("node_modules/@google/gemini-cli/bundle/gemini.js")]

    def interactive(self, scenario):
        return [*self.command(), "-m", "gemini-2.5-pro", *([] if scenario == "terminal-denied" else ["--yolo"])]

    def ready(self, terminal):
        terminal.wait_for("Type your message", 60)
        terminal.pause(4)

    def headless(self, prompt, scenario):
        return [*self.command(), "-m", "gemini-2.5-pro", "--yolo", "-o", "json", "-p", prompt]

    def figures(self, out, turns):
        result, _ = json.JSONDecoder().raw_decode(out, out.index("{"))
        tokens = [model["tokens"] for model in result["stats"]["models"].values()]
        return Figures(sum(model["prompt"] for model in tokens), sum(model["candidates"] for model in tokens))
