"""Writes recorded payloads as fixtures: free of names and paths of this machine, the same at each recording.

`tests/payloads/recorded/AGENT/EVENT[.VARIANT].json` is the payload, `....expected.json` beside it the fields of the
event that it must become. The expectation comes from the tables of the agents here, not from the server.
"""

import json
import os
import re
import shutil
import socket

from checks import require

MAX_BYTES = 16 << 10
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
ISO_TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d[:-]\d\d(?:[:-]\d\d(?:\.\d+)?Z?)?")
# Milliseconds since 1970, alone or within an id.
MILLISECONDS = re.compile(r"(?<![0-9.])1[6-9]\d{11}(?!\d)")
LOCAL_DATE = re.compile(r"\b20\d\d([-/])\d\d\1\d\d\b")
IDS = re.compile(r"\b(ses|msg|prt|conv|agent|call|toolu|evt|chatcmpl)_(?!id\b)[0-9A-Za-z_]*\d[0-9A-Za-z_]*")
HEX_IDS = re.compile(r"\b[0-9a-f]{16,40}\b|(?<=general-purpose-)[0-9a-z]{6,}\b")
PROCESS = re.compile(r"(PGID: |PID: |pid\W{1,4})\d+")


class Cleaner:
    """Replaces what differs between machines and recordings; equal text stays equal."""

    def __init__(self, sandbox_directory):
        encoded = re.sub(r"[^A-Za-z0-9]", "-", sandbox_directory)
        self.paths = [
            (f"{sandbox_directory}/project", "/home/dev/shop"),
            (f"{sandbox_directory}/home", "/home/dev"),
            (f"{sandbox_directory}/tmp", "/tmp"),
            (sandbox_directory, "/home/dev/tests"),
            (f"{encoded}-project", "-home-dev-shop"),
            (encoded, "-home-dev"),
            (socket.gethostname(), "laptop"),
        ]
        self.seen = {}

    def number(self, kind, text):
        seen = self.seen.setdefault(kind, {})
        return seen.setdefault(text, len(seen) + 1)

    def clean(self, payload):
        text = json.dumps(payload, ensure_ascii=False)
        for old, new in self.paths:
            text = text.replace(old, new)
        text = UUID.sub(lambda found: f"00000000-0000-4000-8000-{self.number('uuid', found[0]):012d}", text)
        text = ISO_TIME.sub(self.time, text)
        text = MILLISECONDS.sub(lambda found: str(1795608000000 + self.number("ms", found[0])), text)
        text = LOCAL_DATE.sub(lambda found: found[1].join(["2026", "11", "25"]), text)
        text = IDS.sub(lambda found: f"{found[1]}_{self.number(found[1], found[0]):08d}", text)
        text = HEX_IDS.sub(lambda found: f"{self.number('hex', found[0]):0{len(found[0])}d}", text)
        text = PROCESS.sub(r"\g<1>100", text)
        return json.loads(text)

    def time(self, found):
        number = self.number("time", found[0])
        stable = f"2026-11-25T12:{number // 60 % 60:02d}:{number % 60:02d}.000Z"
        # A time in a file name has hyphens, and may be short.
        stable = stable.replace(":", "-") if "-" in found[0][11:] else stable
        return stable if found[0].endswith("Z") else stable[: min(len(found[0]), 19)]


def first(payload, paths):
    """The first value that is there; paths are dotted."""
    for path in paths:
        value = payload
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value not in (None, ""):
            return value
    return None


def shape(value):
    """The structure of a value: names and types, without values."""
    if isinstance(value, dict):
        return tuple((name, shape(member)) for name, member in sorted(value.items()))
    return tuple({shape(member) for member in value}) if isinstance(value, list) else type(value).__name__


def event_name(agent, arguments, payload):
    """The name of the event: an option of the command, or a member of the payload."""
    if not agent.payloads.event:
        return arguments[arguments.index("--event") + 1]
    return first(payload, agent.payloads.event)


def type_of(agent, scenario, event, payload):
    """The event type that the payload must get."""
    kind = agent.payloads.types.get(event)
    require(kind, f"{event} has no event type in the table of the agent")
    prompt, inner = payload.get("prompt"), first(payload, agent.payloads.subagent)
    # The tool by which OpenHands ends its turn does not fail.
    if kind == "tool_execution_completed" and scenario == "failing" and payload.get("tool_name") != "finish":
        return f"tool_execution_{agent.failure}"
    if kind == "tool_execution_failed" and scenario in agent.denial:
        return "tool_blocked"
    if kind == "context_size_checked" and payload["trigger"] == "manual":
        return "context_compacting"
    if kind == "user_prompt_submitted":
        # No person wrote the prompt.
        if prompt == "":
            return "agent_resumed"
        if str(prompt).startswith("<task-notification>"):
            return "task_notification"
        return "subagent_prompt_submitted" if inner is not None else kind
    if kind == "agent_stopped":
        if any(task["status"] == "running" for task in payload.get("background_tasks") or []):
            return "background_tasks_awaited"
        # The session of a sub-agent ends with its answer.
        return "session_completed" if inner is not None and inner == first(payload, agent.payloads.session) else kind
    if kind == "session_started" and payload.get("source") == "compact":
        return "session_resumed"
    if kind == "subagent_stopped" and payload.get("agent_type") == "":
        return "internal_agent_stopped"
    return kind


def expected(agent, scenario, event, payload):
    """The fields of the event that the payload must become."""
    form = agent.payloads
    kind = type_of(agent, scenario, event, payload)
    fields = {"event_type": kind, "session_id": first(payload, form.session), "agent": agent.name}
    tool, call = first(payload, form.tool), first(payload, form.tool_use)
    if kind.startswith("tool_execution_") or kind == "tool_blocked" or kind == "permission_requested":
        fields |= {"tool_name": tool} if isinstance(tool, str) else {}
        fields |= {"tool_use_id": call} if call is not None else {}
    # A sub-agent is a part of its parent's session, or a session with a parent.
    for name, value in [
        ("subagent_id", first(payload, form.subagent)),
        ("parent_session_id", first(payload, form.parent)),
    ]:
        if value is not None and value != fields["session_id"]:
            fields[name] = value
    return fields


def variant_of(scenario, fields, payload):
    """The part of the file's name that distinguishes payloads of one event."""
    is_inner = {"subagent_id", "parent_session_id"} & fields.keys()
    parts = [
        fields.get("tool_name"),
        None if scenario in ("basic", "terminal") else scenario,
        "sub" if is_inner else None,
        first(payload, ["notification_type", "source", "trigger"]),
    ]
    return ".".join(re.sub(r"[^A-Za-z0-9_-]", "-", part) for part in parts if isinstance(part, str))


def write(agent, recorded, sandbox_directory, directory):
    """Writes the fixtures of an agent; recorded is a list of (scenario, arguments, payload).

    Payloads of the same event, structure, type and tool are written once. Returns a report.
    """
    target = os.path.join(directory, agent.name)
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    cleaner = Cleaner(sandbox_directory)
    shapes, too_long = set(), 0
    for scenario, arguments, payload in recorded:
        event = event_name(agent, arguments, payload)
        payload = cleaner.clean(payload)
        fields = expected(agent, scenario, event, payload)
        signature = (event, shape(payload), fields["event_type"], fields.get("tool_name"))
        if signature in shapes:
            continue
        shapes.add(signature)
        text = json.dumps(payload, indent=2, ensure_ascii=False) + "\n"
        if len(text) > MAX_BYTES:
            too_long += 1
            continue
        path = os.path.join(target, ".".join(filter(None, [event, variant_of(scenario, fields, payload)])))
        while os.path.exists(path + ".json"):
            path += ".other"
        expectation = {"stored": fields}
        if not agent.payloads.event:
            expectation = {"path": f"/hooks/{agent.name}/{event}", **expectation}
        with open(path + ".json", "w", encoding="utf-8") as file:
            file.write(text)
        with open(path + ".expected.json", "w", encoding="utf-8") as file:
            file.write(json.dumps(expectation, indent=2, ensure_ascii=False) + "\n")
    require(shapes, "no payloads")
    return f"{len(shapes) - too_long} of {len(recorded)} written, {too_long} too long"
