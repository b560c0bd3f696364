"""Installs the pinned versions of the agents into a cache."""

import os
import shutil
import subprocess
import sys

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "agentic-hooks-backend/agents")
NODE = "24.21.0"


def npm_install(directory, package):
    """Installs an npm package, once for each version."""
    stamp = os.path.join(directory, "installed")
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == package:
                return
    print(f"try-agents: installing {package}", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    environment = dict(os.environ, PATH=f"{CACHE}/node/node_modules/node/bin:{os.environ['PATH']}")
    command = ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", directory, package]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(package)


def works(python):
    """True if the command is Python 3.12 or newer; version managers install commands that only fail."""
    check = "import sys, venv; sys.exit(sys.version_info < (3, 12))"
    try:
        return subprocess.run([python, "-c", check], capture_output=True).returncode == 0
    except OSError:
        return False


def pip_install(directory, package):
    """Installs a Python package into a virtual environment of its own."""
    stamp = os.path.join(directory, "installed")
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == package:
                return
    print(f"try-agents: installing {package}", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    python = next(filter(works, ["python3.12", "python3.13", "python3"]), None)
    if python is None:
        raise SystemExit(f"try-agents: {package} needs Python 3.12 or newer")
    subprocess.run([python, "-m", "venv", os.path.join(directory, "venv")], check=True)
    subprocess.run([os.path.join(directory, "venv/bin/pip"), "install", "--quiet", package], check=True)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(package)


def install(agent):
    """Installs an agent, and the Node that all of them run on."""
    npm_install(os.path.join(CACHE, "node"), f"node@{NODE}")
    directory = os.path.join(CACHE, agent.name)
    if agent.registry == "npm":
        npm_install(directory, f"{agent.package}@{agent.version}")
    else:
        pip_install(directory, f"{agent.package}=={agent.version}")
