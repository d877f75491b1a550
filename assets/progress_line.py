"""How far a command is, for the person at the terminal."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress_line(what: str, read: Callable[[], tuple[int, int, str]]) -> Iterator[None]:
    """A line of progress on a terminal, nothing elsewhere.

    `read` says how many of `what` there are (0 while it is not known), how many are done, and other numbers.
    """
    if not sys.stderr.isatty():
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
    )
    stop = threading.Event()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, numbers="")

        def refresh() -> None:
            total, done, numbers = read()
            bar.update(task, total=total or None, completed=done, numbers=numbers)

        def follow() -> None:
            while not stop.wait(0.2):
                refresh()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            refresh()
