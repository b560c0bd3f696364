"""GitHub Copilot CLI."""

from agent import Agent, Payloads, Tool
from sandbox import URL


class Copilot(Agent):
    name = "copilot"
    package = "@github/copilot"
    version = "1.0.102"
    has_tool_ids = False
    denial = {"denied": "open", "terminal-denied": "open"}
    counts = {"subagent": {"subagent_prompt_submitted": 1}, "terminal-denied": {"agent_stopped": 0}}
    without_types = frozenset({"context_compacted"})
    cannot_tell = ("calls that rules or the user deny", "the end of a compaction")
    # The status line.
    own_noise = (r"\d+ hook",)
    quit_command = "/exit"

    payloads = Payloads(
        {
            "sessionStart": "session_started",
            "sessionEnd": "session_completed",
            "userPromptSubmitted": "user_prompt_submitted",
            "preToolUse": "tool_execution_started",
            "postToolUse": "tool_execution_completed",
            "postToolUseFailure": "tool_execution_failed",
            "agentStop": "agent_stopped",
            "subagentStart": "subagent_started",
            "subagentStop": "subagent_stopped",
            "permissionRequest": "permission_requested",
            "preCompact": "context_compacting",
            "notification": "system_notification",
        },
        session=("sessionId",),
        tool=("toolName",),
        tool_use=(),
        subagent=("agentId",),
        parent=("parentAgentId",),
        event=(),
    )

    def shell(self, command):
        return Tool("bash", {"command": command, "description": "Run a command"}, "bash")

    def read(self, path):
        return Tool("view", {"path": path}, "view")

    def create(self, path, text):
        return Tool("create", {"path": path, "file_text": text}, "create")

    def delegate(self, prompt):
        return Tool(
            "task",
            {
                "name": "looker",
                "description": "Look around",
                "prompt": prompt,
                "agent_type": "general-purpose",
                "mode": "sync",
            },
            "task",
        )

    def environment(self, sandbox):
        values = {
            "COPILOT_OFFLINE": "true",
            "COPILOT_AUTO_UPDATE": "false",
            "COPILOT_PROVIDER_BASE_URL": "http://127.0.0.1:9101/v1",
            "COPILOT_PROVIDER_API_KEY": "key-of-the-tests",
            "COPILOT_MODEL": "scripted-model",
            "COPILOT_PROVIDER_WIRE_API": "completions",
        }
        if sandbox.telemetry:
            values |= {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        return values

    def configure(self, sandbox, scenario):
        sandbox.write("home/.copilot/config.json", {"trusted_folders": [sandbox.project]})

    def binary(self):
        return self.path("node_modules/@github/copilot-linux-x64/copilot")

    def interactive(self, scenario):
        return [self.binary(), *([] if scenario == "terminal-denied" else ["--allow-all-tools", "--allow-all-paths"])]

    def ready(self, terminal):
        terminal.wait_for("commands · \\? help", 60)
        terminal.pause(4)

    def headless(self, prompt, scenario):
        denied = ["--deny-tool", "shell(echo forbidden)"] if scenario == "denied" else []
        return [self.binary(), "-p", prompt, "--allow-all-tools", "--allow-all-paths", *denied]
