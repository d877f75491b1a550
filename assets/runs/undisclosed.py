"""What of an error gets into Dagster's history: our own sentences, and of other errors only what they were and where.

Dagster keeps the text of an error and of all it hangs on in its event log, for whoever may see its UI.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.discreet import discreet
from assets.runs.home import home_refusal
from pipelines.errors import ExportError
from warehouse.store.limits import limit


class Undisclosed(Exception):
    """An error that is not ours, without its words: the class and places of all of its chain."""


@contextlib.contextmanager
def undisclosed() -> Iterator[None]:
    """Let errors out in a form that Dagster may keep: ours with their sentence, others without their words.

    What an error of ours hangs on is treated the same way.

    Raises:
        ExportError: as it was raised, its cause undisclosed; or what says that DAGSTER_HOME cannot be used, or that
            a limit is reached.
        Undisclosed: instead of any other error.
    """
    try:
        yield
    except dg.Failure:
        raise
    except ExportError as error:
        bare(error)
        raise
    except Exception as error:  # whatever it is, its text must not get into the history
        if (refused := home_refusal(error)) is not None:
            raise refused from None
        if (reached := limit(error, Path.cwd())) is not None:
            raise reached from None
        raise Undisclosed(f"{type(error).__name__}\n{discreet(error)}") from None


def bare(error: ExportError) -> ExportError:
    """Replace what `error` hangs on by its undisclosed form, and return it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    error.__cause__ = None if before is None else Undisclosed(f"{type(before).__name__}\n{discreet(before)}")
    error.__context__ = None
    return error
