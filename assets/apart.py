"""Work in a process of its own, so that a crash in it is a sentence.

The process is forked before anything large is imported, so it costs some milliseconds; it writes to the same stdout
and stderr. It ends with the command that started it, also when that is killed.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import NoReturn

from assets.ending import ExitCode, end_with
from assets.interrupt import SIGNALS
from pipelines.errors import FixQuery


def apart(work: Callable[[], int]) -> int:
    """The exit code of `work`, which has said itself what it had to say; temporary files it leaves are removed.

    Raises:
        FixQuery: the process was ended by the system.
    """
    ours, theirs = os.pipe()
    with tempfile.TemporaryDirectory(prefix="addon-export-") as folder:
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until there is somebody to pass them on
        child = os.fork()
        if not child:
            os.close(theirs)
            _live(work, folder, parent=ours, mask=before)
        os.close(ours)
        try:
            status = _wait(child, before)
        finally:
            os.close(theirs)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    name = signal.Signals(os.WTERMSIG(status)).name
    if name == "SIGKILL":
        raise FixQuery("The process that answers was killed, perhaps for want of memory; ask for less at once.")
    raise FixQuery(f"DuckDB crashed on this question ({name}), and nothing is harmed; ask it in another way.")


def _wait(child: int, mask: Iterable[int]) -> int:
    """How the child ended; a signal that asks this process to end is passed on, and the child cleans up."""
    while True:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return os.waitpid(child, 0)[1]
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)


def _live(work: Callable[[], int], folder: str, *, parent: int, mask: Iterable[int]) -> NoReturn:
    """The child's life."""

    def begin() -> int:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and the parent passes it on
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
        tempfile.tempdir = folder
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return work()

    code: int = ExitCode.UNEXPECTED
    try:
        end_with(begin)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else ExitCode.UNEXPECTED
    finally:
        os._exit(code)  # what stands on the stack is the parent's


def _end_with_parent(parent: int) -> None:
    os.read(parent, 1)  # nothing is ever written: it ends when the parent does
    os.kill(os.getpid(), signal.SIGTERM)
