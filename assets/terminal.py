"""The person at the terminal: data on stdout, talk on stderr."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from assets.visible import ESCAPING, visible
from pipelines.errors import FixWarehouse


def say(sentence: str) -> None:
    """Talk to the person on stderr, or say nothing where that cannot be written, as on a full disk.

    Nothing in it is obeyed by a terminal, now or when a log of it is looked at.
    """
    with suppress(OSError):
        _escape_what_has_no_code(sys.stderr)
        print(visible(sentence, lines=True), file=sys.stderr, flush=True)  # noqa: T201  # the command line is where printing belongs


def show(text: str) -> None:
    """Data for whoever reads stdout: as it is for files and pipes, and with nothing to obey for a terminal.

    Raises:
        BrokenPipeError: nobody reads it any more.
        FixWarehouse: it cannot be written.
    """
    with _printing():
        _escape_what_has_no_code(sys.stdout)
        print(visible(text, lines=True) if sys.stdout.isatty() else text, flush=True)  # noqa: T201  # as above


def _escape_what_has_no_code(stream: TextIO) -> None:
    """Let a stream of an encoding that lacks characters (`PYTHONIOENCODING=ascii`) write their escapes."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors != ESCAPING:
        stream.reconfigure(errors=ESCAPING)


def show_bytes(data: bytes) -> None:
    """The same for bytes, as they are."""
    with _printing():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def _printing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FixWarehouse(f"Cannot write to stdout: {reason}; what the command did so far stays.") from error


def drop_what_cannot_be_printed() -> None:
    """What is still to be printed and cannot be: Python would try again at its end, and change the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
