"""Runs real coding agents against the server and checks what it stores. See scripts/try-agents."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import documents
import installing
import scenarios
from claude_code import ClaudeCode
from cline import Cline
from codex import Codex
from copilot import Copilot
from gemini import Gemini
from model import Model
from opencode import Opencode
from openhands import OpenHands
from qwen import Qwen
from sandbox import Postgres

AGENTS = {agent.name: agent for agent in [ClaudeCode, Codex, Gemini, Copilot, Opencode, Qwen, Cline, OpenHands]}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL_PORT = 9101


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/try-agents")
    parser.add_argument("agents", nargs="*", metavar="AGENT", help=f"one of {', '.join(AGENTS)} (default: all)")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", choices=scenarios.ALL)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--keep", metavar="DIRECTORY")
    parser.add_argument("--inside", metavar="RESULTS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in given.agents:
        if name not in AGENTS:
            parser.error(f"unknown agent '{name}': {', '.join(AGENTS)}")
    return given


def isolated(command):
    """Wraps a command: only loopback, and no process outlives it."""
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        unshare.append("--map-root-user")
    return [*unshare, *command]


def try_agent(name, given, directory):
    """Starts the isolated part for one agent and prints its results as they come."""
    results = os.path.join(directory, f"{name}.results")
    command = [sys.executable, "-B", os.path.abspath(__file__), name, "--inside", results, "--keep", directory]
    for scenario in given.only:
        command += ["--only", scenario]
    if given.record:
        command.append("--record")
    process = subprocess.run(isolated(command), check=False)
    found = []
    if os.path.exists(results):
        with open(results, encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
    if process.returncode != 0:
        found.append(
            {
                "agent": name,
                "scenario": "all",
                "check": "harness",
                "outcome": "red",
                "detail": f"exit {process.returncode}",
            }
        )
    return found


def inside(given):
    """Runs in the namespaces: all scenarios of one agent."""
    if os.getpid() != 1:
        sys.exit("try-agents: --inside is for the script itself")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    name = given.agents[0]
    directory = os.path.join(given.keep, name)
    os.makedirs(os.path.join(directory, "bin"))
    program = os.path.join(directory, "bin", "hooks-backend")
    shutil.copy2(os.environ["HOOKS_BACKEND"], program)
    agent = AGENTS[name](installing.CACHE)
    clusters = []

    def postgres():
        if not clusters:
            clusters.append(Postgres(os.path.join(directory, "postgres")))
        return clusters[0]

    with open(given.inside, "a", encoding="utf-8") as file:

        def write(result):
            file.write(json.dumps(result) + "\n")
            file.flush()
            sign = {"green": "ok   ", "red": "RED  ", "limit": "limit"}[result["outcome"]]
            detail = f": {result['detail']}" if result["detail"] else ""
            print(f"{sign} {name} {result['scenario']}, {result['check']}{detail}", flush=True)

        report = scenarios.Report(agent, write)
        runner = scenarios.Runner(agent, Model(MODEL_PORT), directory, program, postgres, report)
        if given.record:
            runner.record(os.path.join(ROOT, "tests/payloads/recorded"))
        for scenario in [] if given.record else given.only or scenarios.ALL:
            runner.run(scenario)
        for sentence in agent.cannot_tell:
            report.add("all", "cannot tell", "limit", sentence)
    for cluster in clusters:
        cluster.stop()


def table(results, names):
    """A line for each scenario and check, a column for each agent."""
    rows = {}
    for result in results:
        rows.setdefault((result["scenario"], result["check"]), {})[result["agent"]] = result["outcome"]
    width = max(len(f"{scenario}: {check}") for scenario, check in rows)
    lines = [" " * width + "  " + "  ".join(names)]
    for (scenario, check), cells in rows.items():
        lines.append(
            f"{scenario}: {check}".ljust(width)
            + "  "
            + "  ".join(cells.get(name, "-").ljust(len(name)) for name in names)
        )
    return "\n".join(lines)


def main():
    given = arguments()
    if given.inside:
        return inside(given)
    names = given.agents or list(AGENTS)
    for name in names:
        installing.install(AGENTS[name])
    directory = given.keep or tempfile.mkdtemp(prefix="try-agents-")
    os.makedirs(directory, exist_ok=True)
    # PostgreSQL runs as another user below this directory.
    os.chmod(directory, 0o755)
    results = [result for name in names for result in try_agent(name, given, directory)]
    print(table(results, names))
    if given.write_docs:
        documents.write(os.path.join(ROOT, "docs/agents.md"), [AGENTS[name] for name in names], results)
    counts = {outcome: sum(result["outcome"] == outcome for result in results) for outcome in ("green", "red", "limit")}
    print(
        f"{counts['green']} green, {counts['red']} red, {counts['limit']} limits of the agents; files are in {directory}"
    )
    sys.exit(1 if counts["red"] else 0)


if __name__ == "__main__":
    main()
