"""An unexpected error as it may be shown and kept: what it was and where, never what it said.

The text of an error that is not ours may quote anything: a row that does not fit a column, a URL, a setting. Standard
error and Dagster's history therefore get types, files, lines and functions; the sentences of our own errors hold
neither secrets nor content and stay.
"""

import traceback

from pipelines.errors import ExportError


def discreet(error: BaseException) -> str:
    """The chain of an error and of the parts of a group, oldest first, one line for each error and frame."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    if id(error) in seen:
        return []
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = _lines(before, seen) if before is not None else []
    for frame in traceback.extract_tb(error.__traceback__):
        lines.append(f"  {frame.filename}:{frame.lineno} in {frame.name}")
    number = f" (errno {error.errno})" if isinstance(error, OSError) and error.errno is not None else ""
    said = f": {error}" if isinstance(error, ExportError) else ""
    lines.append(f"{type(error).__name__}{number}{said}")
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        lines += _lines(part, seen)
    return lines
