"""opencode."""

import dataclasses

from agent import Agent, Payloads, Tool


class Opencode(Agent):
    name = "opencode"
    package = "opencode-ai"
    version = "1.18.33"
    # Without a network it waits for the installation of its plugin package.
    patience = 240
    skipped = {"telemetry": "reports tokens by its plugin: see basic"}
    tokens_in = "basic"
    # One for each response of the model, with tokens.
    uncounted = Agent.uncounted | {"message_updated", "permission_replied"}
    # A sub-agent has a session of its own.
    without_types = frozenset({"subagent_started", "subagent_stopped", "context_compacting"})
    # Compaction is a turn, too.
    counts = {"subagent": {"user_prompt_submitted": 2, "agent_stopped": 2}, "compaction": {"agent_stopped": 2}}
    cannot_tell = ("whether a person or the main agent wrote a prompt", "the end of a session", "the start of a compaction")
    payloads = Payloads(
        {
            "session.created": "session_started",
            "session.idle": "agent_stopped",
            "session.error": "agent_failed",
            "session.compacted": "context_compacted",
            "chat.message": "user_prompt_submitted",
            "tool.execute.before": "tool_execution_started",
            "tool.execute.after": "tool_execution_completed",
            "message.updated": "message_updated",
            "message.part.updated": "tool_execution_failed",
            "permission.asked": "permission_requested",
            "permission.replied": "permission_replied",
        },
        session=("properties.sessionID",),
        tool=("properties.tool", "properties.part.tool"),
        tool_use=("properties.callID", "properties.part.callID", "properties.tool.callID"),
        subagent=(),
        event=("type",),
    )

    def shell(self, command):
        return Tool("bash", {"command": command, "description": "Run a command"}, "bash")

    def read(self, path):
        return Tool("read", {"filePath": path}, "read")

    def create(self, path, text):
        return Tool("write", {"filePath": path, "content": text}, "write")

    def delegate(self, prompt):
        return Tool("task", {"description": "Look around", "prompt": prompt, "subagent_type": "general"}, "task")

    def ends_session(self, scenario):
        """It runs as a server that ends without an event."""
        return False

    def environment(self, sandbox):
        return {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_SHARE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        }

    def configure(self, sandbox, scenario):
        # It tries to install its plugin package: without a network, only once.
        sandbox.write("home/.npmrc", "fetch-retries=0\n")
        bash = {"*": "allow", "echo forbidden": "deny"} if scenario == "denied" else "allow"
        model = {"name": "Scripted", "limit": {"context": 100000, "output": 10000}, "cost": {"input": 3, "output": 15}}
        sandbox.write(
            "home/.config/opencode/opencode.json",
            {
                "autoupdate": False,
                "share": "disabled",
                "model": "tests/scripted-model",
                "small_model": "tests/scripted-model",
                "provider": {
                    "tests": {
                        "npm": "@ai-sdk/openai-compatible",
                        "name": "Tests",
                        "options": {"baseURL": "http://127.0.0.1:9101/v1", "apiKey": "key-of-the-tests"},
                        "models": {"scripted-model": model},
                    }
                },
                "permission": {"bash": bash, "edit": "ask" if scenario == "terminal-denied" else "allow"},
            },
        )

    def binary(self):
        return self.path("node_modules/opencode-linux-x64/bin/opencode")

    def interactive(self, scenario):
        return [self.binary()]

    def ready(self, terminal):
        terminal.wait_for("Ask anything", 90)
        terminal.pause(4)

    quit_command = "/exit"

    def headless(self, prompt, scenario):
        return [self.binary(), "run", "--auto", prompt]

    def figures(self, out, turns):
        """It computes the cost from the prices in its settings; cached input has none."""
        cost = sum(3 * turn["input"] + 15 * turn["output"] for turn in turns) / 1e6
        return dataclasses.replace(super().figures(out, turns), cost_usd=cost)
