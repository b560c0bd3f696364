"""Gemini CLI."""

import json

from agent import Agent, Figures, Payloads, Tool
from sandbox import URL


class Gemini(Agent):
    name = "gemini"
    package = "@google/gemini-cli"
    version = "0.61.0"
    has_tool_ids = False
    has_telemetry = True
    # The hooks know nothing of sub-agents.
    without_types = frozenset({"subagent_started", "subagent_stopped"})
    limits = {("subagent", "subagents"): "has no hooks for sub-agents"}
    payloads = Payloads(
        {
            "SessionStart": "session_started",
            "SessionEnd": "session_completed",
            "BeforeAgent": "user_prompt_submitted",
            "AfterAgent": "agent_stopped",
            "BeforeTool": "tool_execution_started",
            "AfterTool": "tool_execution_completed",
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

    def register(self, sandbox, command):
        hooks = {event: [{"hooks": [{"type": "command", "command": command(event)}]}] for event in self.payloads.types}
        sandbox.write(self.settings_file, {**self.settings(sandbox), "hooks": hooks})

    def command(self):
        return [self.node(), self.path("node_modules/@google/gemini-cli/bundle/gemini.js")]

    def headless(self, prompt, scenario):
        return [*self.command(), "-m", "gemini-2.5-pro", "--yolo", "-o", "json", "-p", prompt]

    def figures(self, out):
        result, _ = json.JSONDecoder().raw_decode(out, out.index("{"))
        models = result["stats"]["models"].values()
        return Figures(output_tokens=sum(model["tokens"]["candidates"] for model in models))
