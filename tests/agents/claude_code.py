"""Claude Code."""

import json

from agent import TYPES, Agent, Figures, Payloads, Tool
from sandbox import URL


class ClaudeCode(Agent):
    name = "claude-code"
    package = "@anthropic-ai/claude-code"
    version = "2.1.332"
    payloads = Payloads(
        TYPES
        | {
            "PermissionDenied": "tool_blocked",
            "StopFailure": "agent_failed",
            "PostToolBatch": "tool_batch_completed",
            "TaskCreated": "task_created",
            "TaskCompleted": "task_completed",
        }
    )
    # The sub-agent runs in the background: the main agent awaits it, and is told. After Escape it does not stop, and
    # compaction is the work of a helper, after which the session starts again.
    counts = {
        "subagent": {"background_tasks_awaited": 1, "task_notification": 1},
        "terminal-denied": {"agent_stopped": 0},
        "compaction": {"internal_agent_stopped": 2, "session_resumed": 1},
    }
    denial = {"denied": "blocked", "terminal-denied": "open"}
    cannot_tell = ("a call that the user denies with Escape (telemetry does)",)
    # The status line, which a terminal can draw in part; and its list of hooks after a compaction.
    own_noise = (r"run+ing \w+ ho+ks?", "^Running", r"P(re|ost)Compact \[")

    def shell(self, command):
        return Tool("Bash", {"command": command, "description": "Run a command"}, "Bash")

    def read(self, path):
        return Tool("Read", {"file_path": path}, "Read")

    def create(self, path, text):
        return Tool("Write", {"file_path": path, "content": text}, "Write")

    def delegate(self, prompt):
        return Tool(
            "Agent", {"description": "Look around", "prompt": prompt, "subagent_type": "general-purpose"}, "Agent"
        )

    def environment(self, sandbox):
        values = {
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9101",
            "ANTHROPIC_API_KEY": "key-of-the-tests",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "IS_SANDBOX": "1",
        }
        if sandbox.telemetry:
            values |= {
                "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": URL,
            }
        return values

    def configure(self, sandbox, scenario):
        # The deliberate layout shows whether `install` keeps it.
        deny = '["Bash"]' if scenario == "denied" else "[]"
        sandbox.write(
            "home/.claude/settings.json",
            '{\n   "model": "sonnet",\n   "permissions": {"allow": ["Read", "Write", "Bash(echo:*)", "Bash(ls:*)"], "deny": '
            + deny
            + "}\n}",
        )
        sandbox.write(
            "home/.claude.json",
            {
                "hasCompletedOnboarding": True,
                "theme": "dark",
                "customApiKeyResponses": {"approved": ["key-of-the-tests"], "rejected": []},
                "projects": {sandbox.project: {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
            },
        )

    def binary(self):
        return self.path("node_modules/@anthropic-ai/claude-code-linux-x64/claude")

    def denied_tool(self, sandbox):
        return Tool("WebFetch", {"url": "http://127.0.0.1:1/", "prompt": "Summarize"}, "WebFetch")

    def asked_tool(self, sandbox):
        return self.denied_tool(sandbox)

    def headless(self, prompt, scenario):
        return [self.binary(), "-p", prompt, "--output-format", "json"]

    def interactive(self, scenario):
        return [self.binary(), "--permission-mode", "default"]

    quit_command = "/exit"

    def figures(self, out, turns):
        result = json.loads(out)
        models = result["modelUsage"].values()
        return Figures(
            sum(
                model["inputTokens"] + model["cacheReadInputTokens"] + model["cacheCreationInputTokens"]
                for model in models
            ),
            sum(model["outputTokens"] for model in models),
            result["total_cost_usd"],
        )
