"""The expectations: what the server must have stored, and what the agent must not have noticed."""

import collections
import re

STARTED = "tool_execution_started"
# Outcomes of calls, by the type of the event; an "open" call has only a start, an "unseen" one not even that.
ENDS = {"tool_execution_completed": "completed", "tool_execution_failed": "failed", "tool_blocked": "blocked"}
TELEMETRY = re.compile(
    r"^(claude_code|codex|gemini_cli|copilot|github\.copilot|qwen[-_]code|gen_ai|opencode|cline)[._]"
)
# What an agent shows of hooks: errors, running commands, our address.
NOISE = re.compile(r"hook|:8080|spool|otlp|\bECONN", re.IGNORECASE)


class Failed(Exception):
    """An expectation that does not hold."""


def require(condition, message):
    if not condition:
        raise Failed(message)


def is_telemetry(event):
    return (
        bool(TELEMETRY.match(event["event_type"])) or "severity_number" in event["data"] or "resource" in event["data"]
    )


def is_of_subagent(event):
    """Prompts and stops of sub-agents are no prompts and stops of the session; nor are notices of background tasks."""
    if event["event_type"] not in ("user_prompt_submitted", "agent_stopped", "session_started", "session_completed"):
        return False
    inner = event.get("subagent_id") or event.get("parent_session_id")
    return bool(inner) or str(event["data"].get("prompt", "")).startswith("<task-notification")


class Facts:
    """What is known after a run: stored events, sessions, the model's log, and the expectations of the scenario."""

    def __init__(self, agent, scenario, calls, sub_calls, events, sessions, details):
        self.agent, self.scenario, self.calls, self.sub_calls = agent, scenario, calls, sub_calls
        self.sessions, self.details = sessions, details
        self.all_events = events
        self.events = [event for event in events if not is_telemetry(event)]
        self.compactions = 0

    def of_type(self, *types):
        return [event for event in self.events if event["event_type"] in types]

    # Checks. Each raises `Failed`.

    def events_once(self):
        """Each event exactly once, with the right type."""
        outcomes = collections.Counter(outcome for _, outcome in self.calls + self.sub_calls)
        expected = {
            "user_prompt_submitted": 1,
            STARTED: outcomes.total() - outcomes["unseen"],
            "agent_stopped": 1,
            **{name: outcomes[outcome] for name, outcome in ENDS.items()},
        }
        if self.agent.starts_session:
            expected["session_started"] = 1
        if self.agent.ends_session(self.scenario):
            expected["session_completed"] = 1
        if self.compactions:
            expected |= {"context_compacting": self.compactions, "context_compacted": self.compactions}
        if self.sub_calls:
            expected |= {"subagent_started": 1, "subagent_stopped": 1}
        expected |= self.agent.counts.get(self.scenario, {})
        for name in self.agent.without_types:
            expected.pop(name, None)
        expected = {name: count for name, count in expected.items() if count}
        found = collections.Counter(event["event_type"] for event in self.events if not is_of_subagent(event))
        for name in self.agent.uncounted:
            found.pop(name, None)
            expected.pop(name, None)
        wrong = [
            f"{name}: {found.get(name, 0)} instead of {expected.get(name, 0)}"
            for name in sorted(expected | found)
            if found.get(name, 0) != expected.get(name, 0)
        ]
        require(not wrong, "; ".join(wrong))

    def names(self):
        """Agent, session and time of each event."""
        other = [event for event in self.all_events if event.get("agent") != self.agent.name]
        require(not other, f"agent {other[0].get('agent')!r} in {other[0]['event_type']}" if other else "")
        sessions = {event["session_id"] for event in self.events}
        mains = [session for session in self.details.values() if not session.get("parent_session_id")]
        require(len(mains) == 1, f"{len(mains)} sessions without parent among {len(sessions)}")

    def pairs(self):
        """Each tool call has one start and one end, with the same id; an open call has no end."""
        starts, ends = self.of_type(STARTED), self.of_type(*ENDS)
        still_open = collections.Counter(name for name, outcome in self.calls if outcome == "open")
        if self.agent.has_tool_ids:
            open_calls = collections.Counter(event.get("tool_use_id") for event in starts)
            require(None not in open_calls, "a start without tool_use_id")
            twice = [key for key, count in open_calls.items() if count > 1]
            require(not twice, f"{twice} started twice")
            ended = collections.Counter(event.get("tool_use_id") for event in ends)
            missing = open_calls - ended
            is_paired = ended <= open_calls and missing.total() == still_open.total()
            require(is_paired, f"starts {dict(open_calls)}, ends {dict(ended)}")
        else:
            begun, ended = (collections.Counter(event.get("tool_name") for event in group) for group in (starts, ends))
            require(begun == ended + still_open, f"starts {dict(begun)}, ends {dict(ended)}")

    def outcomes(self):
        """Tool names and outcomes."""
        calls = [(name, outcome) for name, outcome in self.calls + self.sub_calls if outcome in ENDS.values()]
        expected = collections.Counter(calls)
        found = collections.Counter(
            (event.get("tool_name"), ENDS[event["event_type"]]) for event in self.of_type(*ENDS)
        )
        text = lambda counter: ", ".join(
            f"{count} {name} {outcome}" for (name, outcome), count in sorted(counter.items(), key=str)
        )
        require(found == expected, f"{text(found) or 'no ends'} instead of {text(expected)}")

    def subagents(self):
        """The sub-agent's events carry its id, or are a session that leads to the parent."""
        starts, main = self.of_type("subagent_started"), self.main_session()
        inner = [event for event in self.of_type(STARTED) if "from-the-subagent" in str(event["data"])]
        inner = [event for event in inner if event.get("tool_name") != self.calls[0][0]]
        require(len(inner) == 1, f"{len(inner)} starts of the sub-agent's tool")
        event = inner[0]
        if event["session_id"] == main:
            require(event.get("subagent_id"), "the sub-agent's tool call has no subagent_id")
            started = [start.get("subagent_id") for start in starts]
            require(started == [event["subagent_id"]], f"subagent_id {event['subagent_id']}, started: {started}")
        else:
            session = self.details[event["session_id"]]
            parent, state = session["parent_session_id"], session["state"]
            require(parent == main, f"parent_session_id {parent} instead of {main}")
            require(state == "ended", f"the sub-agent's session is {state}")

    def main_session(self):
        prompts = [
            event for event in self.events if event["event_type"] in ("user_prompt_submitted", "session_started")
        ]
        prompts = [event for event in prompts if not event.get("parent_session_id")]
        require(prompts, "no session start and no prompt")
        return prompts[0]["session_id"]

    def last_state(self):
        """The state after the end."""
        expected = "ended" if self.agent.ends_session(self.scenario) else "waiting"
        session = self.details.get(self.main_session())
        require(session["state"] == expected, f"{session['state']} instead of {expected}")

    def session_view(self, sandbox, prompt):
        """Working directory, first prompt and counts, in GET /sessions/ID."""
        session = self.details[self.main_session()]
        require(session.get("cwd") == sandbox.project, f"cwd {session.get('cwd')!r}")
        if "user_prompt_submitted" not in self.agent.without_types:
            require(prompt in (session.get("first_prompt") or ""), f"first_prompt {session.get('first_prompt')!r}")
            require(session["prompts"] == 1, f"{session['prompts']} prompts instead of 1")

    def tokens(self, own):
        """Tokens and cost equal the agent's own figures."""
        sums = {
            name: sum(event.get(name) or 0 for event in self.all_events)
            for name in ("input_tokens", "output_tokens", "cost_usd")
        }
        wrong = [
            f"{name} {round(sums[name], 6)}, the agent says {value}"
            for name, value in vars(own).items()
            if value is not None and abs(sums[name] - value) > 1e-6
        ]
        require(any(value is not None for value in vars(own).values()), "the agent has no figures of its own")
        require(not wrong, "; ".join(wrong))


def quiet_screen(agent, text):
    """Nothing about hooks or the server is shown."""
    lines = [
        line
        for line in text.replace(agent.tools, "").splitlines()
        if NOISE.search(line) and not any(re.search(known, line) for known in agent.own_noise)
    ]
    require(not lines, f"{len(lines)} lines such as {lines[0].strip()[:200]!r}" if lines else "")
