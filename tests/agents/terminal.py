"""Runs a program in a pseudo-terminal and types into it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

# Escape sequences, control characters; the cursor moving right stands for spaces.
FORWARD = re.compile(r"\x1b\[(\d*)C")
ESCAPES = re.compile(
    r"\x1b\[[0-9;:?<>=]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)


def visible(data):
    """The text of what a program wrote to a terminal, roughly as a person reads it."""
    text = data.decode("utf-8", "replace").replace("\r", "\n")
    text = FORWARD.sub(lambda match: " " * int(match[1] or 1), text)
    return ESCAPES.sub("", text)


class Terminal:
    """A running program in a terminal of 160 x 50 characters."""

    def __init__(self, command, directory, environment):
        self.output = b""
        self._read_from = 0
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))

    def _pump(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._file], [], [], min(left, 0.1))[0]:
                continue
            try:
                data = os.read(self._file, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.output += data
            # Terminals answer these questions: device attributes, cursor position.
            if b"\x1b[c" in data:
                os.write(self._file, b"\x1b[?62;22c")
            if b"\x1b[6n" in data:
                os.write(self._file, b"\x1b[1;1R")
        return True

    def wait_for(self, pattern, seconds=30):
        """Waits until text that appeared since the last call matches; spaces in the pattern match any white space."""
        pattern = re.compile(pattern.replace(" ", r"\s*"), re.IGNORECASE)
        end = time.monotonic() + seconds
        while True:
            alive = self._pump(0.1)
            if pattern.search(visible(self.output[self._read_from :])):
                self._read_from = len(self.output)
                return
            if not alive or time.monotonic() > end:
                tail = visible(self.output[self._read_from :])[-600:]
                raise TimeoutError(f"the screen never showed {pattern.pattern!r}; it ends with {tail!r}")

    def wait_until(self, condition, seconds=30):
        """Reads the screen until a condition holds; returns whether it did."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            if not self._pump(0.1):
                return condition()
        return condition()

    def pause(self, seconds):
        """Lets the program draw: a key that follows too early is lost by some agents."""
        self._pump(seconds)

    def type(self, text):
        os.write(self._file, text.encode())
        self._pump(0.5)

    def enter(self, text):
        """Types a line, and Enter apart from it: together they would be taken for pasted text."""
        self.type(text)
        self.type("\r")

    def end(self, seconds=10):
        """Waits for the end of the program; returns its exit status, or None if it had to be killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._pump(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._file)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._file)
        return None

    def screen(self):
        return visible(self.output)
