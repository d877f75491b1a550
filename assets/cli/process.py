"""The process a command runs in: what is put right before anything else, whoever started it and how."""

import os
import signal
import sys
import time
import warnings
from types import FrameType

from assets.runs.interrupt import SIGNALS, send_again_soon, send_again_what_is_swallowed

_RECEIVED: set[int] = set()
"""Signals that have asked this process to end."""

UNWINDING_SECONDS = 2.0
"""From a signal on in which others are part of the same wish: shells and wrappers send several at once, and a second
one would cut short the cleaning up after the first. A later one does."""

_RAISED_AT: list[float] = []
"""When the last interruption was raised (seconds of the monotonic clock), unless it was lost."""


def prepare() -> None:
    """Give the process its streams, private files, and signals that unwind; libraries' warnings are not its user's.

    An ignored signal stays ignored: that is how `nohup` and `trap ''` ask for it.
    """
    open_standard_streams()
    warnings.resetwarnings()
    warnings.simplefilter("ignore")  # PYTHONWARNINGS=error would make errors of what libraries say to developers
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy starts one for each processor, and is not used
    os.environ.pop("SSLKEYLOGFILE", None)  # libraries would write the keys of connections there
    os.environ["PYTHONSAFEPATH"] = "1"  # Python would look for modules of processes started here in this folder first
    os.umask(0o077)  # Dagster makes the files of its history as open as this lets it
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
        elif number == signal.SIGINT:  # Dagster does with SIGTERM what is done with SIGINT
            signal.signal(number, _ignore_interrupt)
    send_again_what_is_swallowed(_RAISED_AT.clear)


def open_standard_streams() -> None:
    """Lead every standard stream that was closed (`2>&-`) to nowhere.

    The next file to be opened would get its number otherwise, and what is said end in that file; and Python prints what
    is meant for a closed stderr to stdout.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # a new file gets the lowest free number
        os.set_inheritable(handle, True)  # for the processes that this one starts
    os.close(handle)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # they last as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def let_go() -> None:
    """Ignore signals from here on: the work is done, its exit code is known, and the process ends by itself."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def interrupted() -> bool:
    """Whether the process was asked to end.

    DuckDB says so by errors of its own, which are not what the signal's handler raised.
    """
    return bool(_RECEIVED)


def interruption() -> str:
    """Why the process was asked to end, for the beginning of a sentence."""
    return "The limit on processor time (ulimit -t) is reached" if signal.SIGXCPU in _RECEIVED else "Interrupted"


def _ignore_interrupt(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGINT:
        _interrupt(number, frame)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _RECEIVED.add(number)
    if number == signal.SIGXCPU:  # it comes again every second, into the cleaning up
        signal.signal(number, signal.SIG_IGN)
    if _is_importing(frame):
        send_again_soon()
        return
    now = time.monotonic()
    if _RAISED_AT and now < _RAISED_AT[0] + UNWINDING_SECONDS:
        return
    _RAISED_AT[:] = [now]
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: compiled ones (duckdb, pyarrow) say much about one that is cut short."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
