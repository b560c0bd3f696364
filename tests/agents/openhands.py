"""OpenHands CLI."""

from agent import TYPES, Agent, Payloads, Tool
from model import call


class OpenHands(Agent):
    name = "openhands"
    package = "openhands"
    version = "1.16.0"
    registry = "PyPI"
    has_tool_ids = False
    parallel = 2
    is_installed = False
    is_checked_by_doctor = False
    # It prints that it found hooks. At its end it fails to draw the result of the last hook, and prints where.
    own_noise = ("Hooks loaded", r"run_session_end", r"_emit_hook_execution_event", "conversation_hooks.py")
    skipped = {
        "denied": "without a person it allows everything",
        "subagent": "its sub-agents are not part of the command line",
        "telemetry": "its OpenTelemetry has spans only",
    }

    payloads = Payloads(
        {
            name: TYPES[name]
            for name in ("SessionStart", "SessionEnd", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop")
        },
        event=("event_type",),
    )

    def shell(self, command):
        return Tool("terminal", {"command": command, "security_risk": "LOW", "summary": "Run a command"}, "terminal")

    def edit(self, **arguments):
        return Tool("file_editor", {**arguments, "security_risk": "LOW", "summary": "Edit"}, "file_editor")

    def read(self, path):
        return self.edit(command="view", path=path)

    def create(self, path, text):
        return self.edit(command="create", path=path, file_text=text)

    def delegate(self, prompt):
        return self.shell("true")

    def after_install(self, sandbox, printed):
        """Writes the printed file."""
        sandbox.write("project/.openhands/hooks.json", printed[printed.index("\n{") : printed.index("\n}") + 2])

    def environment(self, sandbox):
        return {
            "LLM_API_KEY": "key-of-the-tests",
            "LLM_BASE_URL": "http://127.0.0.1:9101/v1",
            "LLM_MODEL": "openai/scripted-model",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OPENHANDS_SUPPRESS_BANNER": "1",
            "DO_NOT_TRACK": "1",
            "TERM": "xterm",
        }

    def script(self, scenario, sandbox):
        """The last turn is a call of the tool `finish`."""
        scripts, calls = super().script(scenario, sandbox)
        scripts["main"][-1] = call(("finish", {"message": "The work is done.", "summary": "Finish"}))
        return scripts, [*calls, ("finish", "completed")]

    def headless(self, prompt, scenario):
        command = [self.path("venv/bin/openhands"), "--headless", "--override-with-envs", "--exit-without-confirmation"]
        return [*command, "-t", prompt]
