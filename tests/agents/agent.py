"""What the harness has to know about an agent, with the defaults."""

import os
from dataclasses import dataclass, field

from model import call, fail, say


@dataclass(frozen=True)
class Tool:
    """A tool call as an agent names it to the model, and as its hooks name it."""

    name: str
    arguments: dict
    hook_name: str

    @property
    def request(self):
        return self.name, self.arguments


@dataclass(frozen=True)
class Figures:
    """The agent's own figures of a run. None: it does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


TYPES = {
    "SessionStart": "session_started",
    "SessionEnd": "session_completed",
    "UserPromptSubmit": "user_prompt_submitted",
    "PreToolUse": "tool_execution_started",
    "PostToolUse": "tool_execution_completed",
    "PostToolUseFailure": "tool_execution_failed",
    "PermissionRequest": "permission_requested",
    "Notification": "system_notification",
    "SubagentStart": "subagent_started",
    "SubagentStop": "subagent_stopped",
    "Stop": "agent_stopped",
    "PreCompact": "context_compacting",
    "PostCompact": "context_compacted",
}


@dataclass(frozen=True)
class Payloads:
    """Where an agent's payloads have what is stored, as dotted paths; and the type of each of its events."""

    types: dict = field(default_factory=lambda: TYPES)
    session: tuple = ("session_id",)
    tool: tuple = ("tool_name",)
    tool_use: tuple = ("tool_use_id",)
    subagent: tuple = ("agent_id",)
    parent: tuple = ()
    event_in_path: bool = False


class Agent:
    """One coding agent. Subclasses say how it is started and configured, and what it cannot tell."""

    name = ""
    # Package and version, and where it comes from.
    package = ""
    version = ""
    registry = "npm"
    # Hooks have an id for each tool use.
    has_tool_ids = True
    # The session ends with an event; otherwise it is waiting after its last turn.
    ends_session = True
    # Reports its start before the first prompt.
    starts_session = True
    # Telemetry can be sent to the server; its figures are compared with the agent's own.
    has_telemetry = False
    has_subagents = True
    # Number of identical parallel calls.
    parallel = 4
    # {(scenario, check): reason}: what cannot be green, because the agent does not tell.
    limits = {}
    # {scenario: reason}: scenarios that cannot be tried with the agent.
    skipped = {}
    # {scenario: {event type: count}}, where the agent differs from the others.
    counts = {}
    # Event types of hooks that may come any number of times.
    uncounted = frozenset({"system_notification", "tool_batch_completed", "permission_requested"})
    # Event types for which the agent has no hook.
    without_types = frozenset()
    # Lines that the agent prints without our hooks, too.
    own_noise = ()
    payloads = Payloads()
    # Seconds that a run may take.
    patience = 150

    def __init__(self, tools):
        self.tools = tools

    # Tools: each returns a Tool.

    def shell(self, command):
        raise NotImplementedError

    def read(self, path):
        raise NotImplementedError

    def create(self, path, text):
        raise NotImplementedError

    def delegate(self, prompt):
        raise NotImplementedError

    def denied_tool(self, sandbox):
        """A call that the settings of the scenario `denied` forbid."""
        return self.shell("echo forbidden")

    def subagent_tool(self, sandbox):
        """What the sub-agent does."""
        return self.shell("echo from-the-subagent")

    # Set-up.

    def environment(self, sandbox):
        return {}

    def configure(self, sandbox, scenario):
        """Writes the user's settings, before `install`."""

    def after_install(self, sandbox):
        """What a person does after `install`."""

    def register(self, sandbox, command):
        """Registers `command(event)` for each event of the agent, to record payloads."""
        raise NotImplementedError

    def headless(self, prompt, scenario):
        """The command line of a run without a terminal."""
        raise NotImplementedError

    def interactive(self):
        """The command line of a run in a terminal; None if the scenarios in a terminal are not tried."""
        return None

    compact_command = "/compact"
    quit_command = "/quit"

    def ready(self, terminal):
        """Waits until the agent accepts a prompt."""
        terminal.pause(3)

    def wait_for_question(self, terminal):
        """Waits until the agent asks whether it may use a tool."""
        terminal.pause(5)

    def figures(self, out):
        """Reads the agent's own figures from its output."""
        return Figures()

    def path(self, *parts):
        return os.path.join(self.tools, self.name, *parts)

    def node(self):
        return os.path.join(self.tools, "node/node_modules/node/bin/node")

    # Scripts of the model.

    def script(self, scenario, sandbox):
        """Returns the scripts of the model, and the expected tool calls of the main agent as (hook name, outcome)."""
        notes, missing = (os.path.join(sandbox.project, name) for name in ("notes.txt", "missing.txt"))
        hello = self.shell("echo hello")
        if scenario == "failing":
            tools = [(self.shell("ls does-not-exist"), "failed"), (self.read(missing), "failed")]
        elif scenario in ("denied", "terminal-denied"):
            tools = [(self.denied_tool(sandbox), "blocked")]
        elif scenario == "subagent":
            tools = [(self.delegate("[sub] Look around."), "completed")]
        elif scenario == "parallel":
            same = [hello] * self.parallel
            return (
                {"main": [call(*(tool.request for tool in same)), say("All are done.")]},
                [(tool.hook_name, "completed") for tool in same],
            )
        elif scenario == "overhead":
            tools = [(self.shell(f"echo {number}"), "completed") for number in range(12)]
        elif scenario == "model-error":
            return {"main": [call(hello.request), fail(400)]}, [(hello.hook_name, "completed")]
        else:
            new = os.path.join(sandbox.project, "new.txt")
            tools = [(hello, "completed"), (self.read(notes), "completed"), (self.create(new, "a line\n"), "completed")]
        main = [call(tool.request) for tool, _ in tools] + [say("The work is done.")]
        sub = [call(self.subagent_tool(sandbox).request), say("There is one file.")]
        return {"main": main, "sub": sub, "again": [say("Once more.")]}, [
            (tool.hook_name, outcome) for tool, outcome in tools
        ]
