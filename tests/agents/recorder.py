"""Stands in for hooks-backend: keeps the payload of a hook, and the command's arguments.

recorder.py DIRECTORY emit ..., with the payload on standard input.
"""

import json
import os
import sys
import time


def main():
    directory, *arguments = sys.argv[1:]
    name = f"{time.time_ns()}-{os.getpid()}.json"
    with open(os.path.join(directory, "." + name), "w", encoding="utf-8") as file:
        json.dump({"arguments": arguments, "payload": json.load(sys.stdin)}, file, ensure_ascii=False)
    os.rename(os.path.join(directory, "." + name), os.path.join(directory, name))


if __name__ == "__main__":
    main()
