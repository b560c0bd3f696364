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
    """The agent's own figures of a run, cached input included. None: it does not say."""

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
    # Paths to the name of the event; without one, it is an option of the command.
    event: tuple = ("hook_event_name",)


class Agent:
    """One coding agent. Subclasses say how it is started and configured, and what it cannot tell."""

    name = ""
    # Package and version, and where it comes from.
    package = ""
    version = ""
    registry = "npm"
    # Hooks have an id for each tool use.
    has_tool_ids = True
    # Outcome of failed calls in the hooks: "completed" if the agent does not tell.
    failure = "failed"
    # Outcome of denied calls in each scenario: "blocked", "open" if nothing follows the start, "unseen" if the
    # start is missing, too.
    denial = {"denied": "blocked", "terminal-denied": "blocked"}
    # What the hooks do not contain, in short sentences for the documents.
    cannot_tell = ()
    # Reports its start before the first prompt.
    starts_session = True
    # Scenario in which the agent reports tokens, which are compared with the agent's own figures.
    tokens_in = "telemetry"
    # Its hooks distinguish sub-agents.
    has_subagents = True
    # Number of identical parallel calls.
    parallel = 4
    # {scenario: reason}: scenarios that cannot be tried with the agent.
    skipped = {}
    # {scenario: {event type: count}}, where the agent differs from the others.
    counts = {}
    # Event types of hooks that may come any number of times.
    uncounted = frozenset({"system_notification", "tool_batch_completed", "permission_requested"})
    # Event types for which the agent has no hook.
    without_types = frozenset()
    # Regular expressions for lines that are no fault: the agent prints them without our hooks, too, or mentions
    # each running hook, whatever it does.
    own_noise = ()
    # `install` and `uninstall` change the settings; otherwise `install` prints what to do.
    is_installed = True
    # `doctor` has a line about the agent.
    is_checked_by_doctor = True
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

    def asked_tool(self, sandbox):
        """A call for which the agent asks the person at the terminal."""
        return self.create(os.path.join(sandbox.project, "asked.txt"), "a line\n")

    def subagent_tool(self, sandbox):
        """What the sub-agent does."""
        return self.shell("echo from-the-subagent")

    # Set-up.

    def environment(self, sandbox):
        return {}

    def configure(self, sandbox, scenario):
        """Writes the user's settings, before `install`."""

    def after_install(self, sandbox, printed):
        """What a person does after `install`, which printed a text."""

    def headless(self, prompt, scenario):
        """The command line of a run without a terminal."""
        raise NotImplementedError

    def interactive(self, scenario):
        """The command line of a run in a terminal; None if the scenarios in a terminal are not tried."""
        return None

    def ends_session(self, scenario):
        """True if the session ends with an event; otherwise it is waiting after its last turn."""
        return True

    # What the agent asks before it uses a tool.
    question = "Do you want|Would you like|Apply this change|Permission required"
    compact_command = "/compact"
    quit_command = "/quit"

    def ready(self, terminal):
        """Waits until the agent accepts a prompt."""
        terminal.pause(3)

    def wait_for_question(self, terminal):
        """Waits until the agent asks whether it may use a tool."""
        terminal.wait_for(self.question, 60)
        terminal.pause(2)

    def figures(self, out, turns):
        """The agent's own figures, from its output; otherwise those of the turns that the model served."""
        return Figures(
            sum(turn["input"] + turn["cached"] for turn in turns), sum(turn["output"] for turn in turns)
        )

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
            tools = [(self.shell("ls does-not-exist"), self.failure), (self.read(missing), self.failure)]
        elif scenario in self.denial:
            tool = self.denied_tool(sandbox) if scenario == "denied" else self.asked_tool(sandbox)
            tools = [(tool, self.denial[scenario])]
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
