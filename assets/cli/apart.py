"""Work in a process of its own, so that a crash in it is a sentence.

The process is forked before anything large is imported, so it costs some milliseconds; it writes to the same stdout
and stderr. It ends with the command that started it, also when that is killed.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from assets.cli.ending import ExitCode, end_with
from assets.runs.interrupt import SIGNALS
from pipelines.errors import FixQuery

PATIENCE_SECONDS = 2.0
"""From a signal to the end of work that takes no notice of it: DuckDB now and then goes on computing."""


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
    if os.WTERMSIG(status) in SIGNALS:  # it was done already, and no longer waited for one
        raise KeyboardInterrupt
    name = signal.Signals(os.WTERMSIG(status)).name
    if name == "SIGKILL":
        raise FixQuery("The process that answers was killed, perhaps for want of memory; ask for less at once.")
    raise FixQuery(f"DuckDB crashed on this question ({name}), and nothing is harmed; ask it in another way.")


def _wait(child: int, mask: Iterable[int]) -> int:
    """How the child ended.

    Raises:
        KeyboardInterrupt: this process was asked to end, and the child did not clean up by itself.
    """
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return os.waitpid(child, 0)[1]
    except KeyboardInterrupt:
        os.kill(child, signal.SIGINT)
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise KeyboardInterrupt


def _live(work: Callable[[], int], folder: str, *, parent: int, mask: Iterable[int]) -> NoReturn:
    """The child's life."""

    def begin() -> int:
        _obey_once()
        threading.Thread(target=_end_with_parent, args=(parent, folder), daemon=True).start()
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


def _obey_once() -> None:
    """Let the first signal unwind the work and the others pass: Ctrl-C reaches both processes, and is passed on too."""
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        try:
            if not callable(before):
                raise KeyboardInterrupt
            before(number, frame)  # nothing is raised where it waits for the end of an import
        except BaseException:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            raise

    for each in SIGNALS:
        signal.signal(each, stop)


def _end_with_parent(parent: int, folder: str) -> None:
    os.read(parent, 1)  # nothing is ever written: it ends when the parent does
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(ExitCode.INTERRUPTED)
