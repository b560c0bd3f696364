"""A hook command that keeps its payload: recorder.py DIRECTORY EVENT, with the payload on standard input."""

import json
import os
import sys
import time


def main():
    directory, event = sys.argv[1:3]
    payload = json.load(sys.stdin)
    name = f"{time.time_ns()}-{os.getpid()}.json"
    with open(os.path.join(directory, "." + name), "w", encoding="utf-8") as file:
        json.dump({"event": event, "payload": payload}, file, ensure_ascii=False)
    os.rename(os.path.join(directory, "." + name), os.path.join(directory, name))


if __name__ == "__main__":
    main()
