"""Qwen Code, a descendant of Gemini CLI."""

from agent import TYPES, Agent, Payloads, Tool
from gemini import Gemini


class Qwen(Gemini):
    name = "qwen"
    package = "@qwen-code/qwen-code"
    version = "0.24.4"
    has_tool_ids = True
    has_subagents = True
    without_types = frozenset()
    # It goes on after each tool with an empty prompt.
    uncounted = Agent.uncounted | {"agent_resumed"}
    denial = {"denied": "unseen", "terminal-denied": "unseen"}
    # The sub-agent runs in the background: the main agent awaits it.
    counts = {"subagent": {"background_tasks_awaited": 1}, "terminal-denied": {"agent_stopped": 0}, "compaction": {"session_resumed": 1}}
    cannot_tell = ("calls that rules or the user deny", "the end of a session without a terminal")
    settings_file = "home/.qwen/settings.json"

    payloads = Payloads(
        TYPES
        | {"PermissionDenied": "tool_blocked", "StopFailure": "agent_failed", "PostToolBatch": "tool_batch_completed"}
    )

    def delegate(self, prompt):
        return Tool(
            "agent", {"description": "Look around", "prompt": prompt, "subagent_type": "general-purpose"}, "agent"
        )

    def subagent_tool(self, sandbox):
        return self.shell("echo from-the-subagent")

    def ends_session(self, scenario):
        return scenario in ("terminal", "terminal-denied", "compaction")

    def environment(self, sandbox):
        return {
            "OPENAI_API_KEY": "key-of-the-tests",
            "OPENAI_BASE_URL": "http://127.0.0.1:9101/v1",
            "OPENAI_MODEL": "scripted-model",
            "NO_BROWSER": "1",
        }

    def settings(self, sandbox):
        settings = super().settings(sandbox)
        settings["security"]["auth"]["selectedType"] = "openai"
        # It adds this to settings without it.
        settings["$version"] = 4
        return settings

    def configure(self, sandbox, scenario):
        super().configure(sandbox, "")
        if scenario == "denied":
            settings = self.settings(sandbox)
            settings["permissions"] = {"deny": ["run_shell_command(echo forbidden)"]}
            sandbox.write(self.settings_file, settings)

    def command(self):
        return [self.node(), self.path("node_modules/@qwen-code/qwen-code/cli-entry.js")]

    def interactive(self, scenario):
        return [*self.command(), "--approval-mode", "default" if scenario == "terminal-denied" else "yolo"]

    def headless(self, prompt, scenario):
        return [*self.command(), "--yolo", "-p", prompt]

    def figures(self, out, turns):
        return Agent.figures(self, out, turns)
