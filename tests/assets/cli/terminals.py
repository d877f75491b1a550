"""A command of ours on a pseudo-terminal, as a person at a keyboard runs it."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from dataclasses import dataclass

from tests.assets.conftest import CommandLine


@dataclass(frozen=True, slots=True)
class Session:
    """How it ended, and all that the terminal showed."""

    code: int
    printed: str


def on_a_terminal(
    command: CommandLine,
    *arguments: str,
    answer: str = "",
    interrupt_at: str = "",
    columns: int = 80,
    seconds: float = 120,
) -> Session:
    """Run a command with a terminal of its own for stdin, stdout and stderr.

    `answer` is typed at once, Ctrl-C when the terminal shows what matches `interrupt_at`.
    """
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover  # another process
        os.chdir(command.folder)
        os.execve(sys.executable, [sys.executable, "-m", "assets.cli", *arguments], command.clean_environment())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.write(terminal, answer.encode())
    printed, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            block = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the last process has let go of it
            break
        printed += block
        if not block:
            break
        if interrupt_at and re.search(interrupt_at, printed.decode(errors="replace")):
            os.write(terminal, b"\x03")
            interrupt_at = ""
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return Session(os.waitstatus_to_exitcode(status), printed.decode(errors="replace"))
