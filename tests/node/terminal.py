#!/usr/bin/env python3
"""terminal.py: a client in a terminal, as a person uses it. For streaming.sh; prints PASS and FAIL lines.

  terminal.py use PREFIX EXIT CODE CLIENT...      a shell in it: size, resizing, vi, top, Ctrl-C; it exits with EXIT
  terminal.py leave PREFIX LINE KEYS CLIENT...    a shell that is given LINE and left with KEYS (\\x10\\x11), as by detaching
  terminal.py end PREFIX PATTERN CODE WHAT CLIENT...
        WHAT, a shell's line that gets the client's pid as $CLIENT, ends it from outside; PATTERN, if any, is said about that

CODE is the client's own status. Each also sees that the terminal is raw meanwhile, and in the end as it was before.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE_S = 15


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command, rows=37, columns=101):
        self.ours, self.theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.theirs)
        self.shown = ""

        def own_terminal():
            os.setsid()
            fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

        environment = {**os.environ, "TERM": "xterm"}
        self.program = subprocess.Popen(
            command, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, preexec_fn=own_terminal, env=environment
        )

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.ours, text.encode())

    def read(self, wait_s):
        if select.select([self.ours], [], [], wait_s)[0]:
            self.shown += os.read(self.ours, 65536).decode(errors="replace")

    def shows(self, pattern):
        """Waits until something is shown after what was waited for before."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.shown):
                self.shown = self.shown[found.end() :]
                return found[0]
            self.read(0.1)
        return None

    def says(self, line, pattern):
        self.type(line + "\r")
        return self.shows(pattern)

    def is_raw(self):
        return not termios.tcgetattr(self.theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before

    def status(self):
        """The status of the program's end; none: it goes on."""
        deadline = time.monotonic() + PATIENCE_S
        while self.program.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0)
        return self.program.poll()

    def close(self):
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGKILL)
            self.program.wait()


class Report:
    def __init__(self, prefix, terminal):
        self.prefix, self.terminal = prefix, terminal

    def check(self, name, passed, wanted=""):
        shown = repr(self.terminal.shown[-200:])
        print(f"PASS {self.prefix}_{name}" if passed else f"FAIL {self.prefix}_{name}: {wanted} shown: {shown}", flush=True)

    def end(self, code):
        status = self.terminal.status()
        self.check("ends_with_its_status", str(status) == code, f"wanted {code}, saw {status};")
        self.check("leaves_the_terminal_as_it_was", self.terminal.is_as_before())


def begin(report):
    terminal = report.terminal
    # What the shell says first is not known; a line that it works out is.
    report.check("begins", terminal.says("echo begins-$((40 + 2))", "begins-42"))
    report.check("is_raw_meanwhile", terminal.is_raw())


def use(report, code):
    terminal = report.terminal
    begin(report)
    report.check("has_the_size", terminal.says("stty size", "37 101"))
    terminal.resize(50, 132)
    # The client tells it in its own time.
    report.check("follows_a_new_size", any(terminal.says("stty size", r"\d+ \d+\r") == "50 132\r" for _ in range(100)))
    # Typed before the command runs, the key would be the shell's.
    runs = terminal.says("sh -c 'echo runs-$((40 + 2)); sleep 1234'", "runs-42")
    terminal.type("\x03")
    report.check("interrupts_with_ctrl_c", runs and terminal.says("echo alive-$((40 + 2))", "alive-42"))
    report.check("draws_top", terminal.says("top", "Mem:") and terminal.shows("PID"))
    terminal.type("q")
    report.check("ends_top", terminal.says("echo back-$((40 + 2))", "back-42"))
    report.check("draws_vi_to_the_last_line", terminal.says("vi /tmp/written", r"\x1b\[50;1H"))
    # What comes right after the escape would be a key's sequence with it.
    terminal.type("iwritten in vi\x1b")
    wrote = terminal.shows(r"- /tmp/written.*Modified")
    terminal.type(":wq\r")
    report.check("writes_in_vi", wrote and terminal.says("cat /tmp/written | tr a-z A-Z", "WRITTEN IN VI"))
    terminal.type(f"exit {code}\r")


def main():
    what, prefix, *words = sys.argv[1:]
    count = {"use": 2, "leave": 2, "end": 3}[what]
    given, client = words[:count], words[count:]
    terminal = Terminal(client)
    report = Report(prefix, terminal)
    if what == "use":
        use(report, given[0])
        report.end(given[1])
    elif what == "leave":
        begin(report)
        line, keys = given
        if line:
            terminal.type(line + "\r")
        terminal.type(keys.encode().decode("unicode_escape"))
        report.end("0")
    else:
        pattern, code, line = given
        begin(report)
        subprocess.run(["sh", "-c", line], env={**os.environ, "CLIENT": str(terminal.program.pid)}, check=True)
        if pattern:
            report.check("is_told_why", terminal.shows(pattern))
        report.end(code)
    terminal.close()


main()
