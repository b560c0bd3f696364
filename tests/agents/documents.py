"""Updates the table of tried agents in docs/agents.md."""

import datetime
import re

BEGIN, END = "<!-- scripts/try-agents --write-docs: begin -->", "<!-- end -->"
HEAD = """| agent | version | tried on | green checks | time added to a tool call: server up, down, hung | cannot tell |
|---|---|---|---|---|---|
"""


def row(agent, results):
    """A table row: the results of one agent."""
    green = sum(result["outcome"] == "green" for result in results)
    red = sum(result["outcome"] == "red" for result in results)
    limits = sorted(
        {
            result["detail"]
            for result in results
            if result["outcome"] == "limit" and result["detail"] != "not tried in a terminal"
        }
    )
    times = [result["detail"] for result in results if result["check"] == "time per tool call"]
    numbers = re.findall(r"[-+]\d+ ms", times[0]) if times else []
    day = datetime.date.today().isoformat()
    return f"| {agent.name} | {agent.version} | {day} | {green} of {green + red} | {', '.join(numbers)} | {'; '.join(limits)} |"


def write(path, agents, results):
    """Replaces the rows of the given agents, and keeps the others."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END, 1)
    rows = {
        line.split("|")[1].strip(): line
        for line in old.splitlines()
        if line.startswith("| ") and not line.startswith("| agent")
    }
    for agent in agents:
        rows[agent.name] = row(agent, [result for result in results if result["agent"] == agent.name])
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{HEAD}" + "\n".join(rows.values()) + f"\n{END}{after}")
