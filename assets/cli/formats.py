"""Answers as lines: aligned text for people, Markdown for pages, CSV or JSON for programs."""

import csv
import html
import io
import itertools
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from assets.visible import visible
from warehouse.published.query import Answer

LINE = 110
"""Width of answers that are not printed on a terminal, in characters."""

NARROW = 10
"""The least width of a column that shares a line; where there is no room for it, each row is a list of its own."""

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d)?(:\d\d)?")
"""A time as DuckDB writes it, unless it is before Christ, after 9999, or infinity."""


def table(answer: Answer, *, width: int = LINE) -> str:
    """The whole answer as aligned text of `width` characters."""
    return "\n".join(_lines(answer, width, str))


def _as_table(answer: Answer) -> Iterator[str]:
    """As wide as the terminal, and with nothing that it would obey."""
    if sys.stdout.isatty():
        return _lines(answer, shutil.get_terminal_size().columns, visible)
    return _lines(answer, LINE, str)


def _lines(answer: Answer, width: int, shown: Callable[[str], str]) -> Iterator[str]:
    names = [shown(name) for name in answer.columns]
    rows = [[shown(text.replace("\n", " ").replace("\t", " ")) for text in row] for row in _texts(answer)]
    longest = [max(len(cell) for cell in column) for column in zip(names, *rows, strict=True)]
    fair = _fair(longest, width - 2 * (len(names) - 1))
    if fair < min(NARROW, max(longest, default=0)):
        return _lists(names, rows, width)
    widths = [min(each, fair) for each in longest]
    return itertools.chain.from_iterable(
        _side_by_side(row, widths) for row in itertools.chain([names, ["-" * each for each in widths]], rows)
    )


def _fair(longest: Sequence[int], room: int) -> int:
    """The width that longer columns are cut to, so that all have room; shorter ones keep theirs."""
    left, waiting = room, len(longest)
    for width in sorted(longest):
        if width * waiting > left:
            return max(0, left // waiting)
        left, waiting = left - width, waiting - 1
    return max(longest, default=0)


def _side_by_side(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The lines of one row."""
    cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        yield "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _lists(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Each row as a list of its columns, for more columns than a line has room for."""
    indent = min(max(map(len, names)), width // 2) + 2
    for number, row in enumerate(rows, 1):
        yield f"-- row {number}"
        for name, cell in zip(names, row, strict=True):
            lines = _wrapped(cell, max(NARROW, width - indent))
            yield f"{name.ljust(indent)}{next(lines, '')}".rstrip()
            yield from (f"{' ' * indent}{line}" for line in lines)
    if not rows:
        yield "no rows, with the columns " + ", ".join(names)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` characters, cut at spaces where there are any; one empty line for no text."""
    start = 0
    while len(text) - start > width:
        end = text.rfind(" ", start + 1, start + width + 1)
        if end < 0:
            end = start + width
        yield text[start:end].rstrip()
        start = end
        while text.startswith(" ", start):
            start += 1
    if start < len(text) or not text:
        yield text[start:]


def _as_csv(answer: Answer) -> Iterator[str]:
    """One line a row, null as nothing."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="")
    for row in itertools.chain([list(answer.columns)], _texts(answer)):
        line.seek(0)
        line.truncate()
        writer.writerow(row)
        yield line.getvalue()


def _as_json(answer: Answer) -> Iterator[str]:
    """An array with one object a row, one row a line."""
    before = "["
    for row in answer.rows:
        values = [
            _iso(value) if at in answer.moments and isinstance(value, str) else _plain(value)
            for at, value in enumerate(row)
        ]
        yield before + json.dumps(dict(zip(answer.columns, values, strict=True)), ensure_ascii=False)
        before = ","
    yield "[]" if before == "[" else "]"


def _as_markdown(answer: Answer) -> Iterator[str]:
    """A table as GitHub and notebooks show it; no cell is markup there."""
    rows = itertools.chain([list(answer.columns), ["---"] * len(answer.columns)], _texts(answer))
    for row in rows:
        cells = (html.escape(" ".join(cell.split()), quote=False) for cell in row)
        yield f"| {' | '.join(_MARKS.sub(_BACKSLASHED, cell) for cell in cells)} |"


_MARKS = re.compile(r"[\\|`*_\[\]]")

_BACKSLASHED = r"\\\g<0>"

FORMATS: Mapping[str, Callable[[Answer], Iterator[str]]] = MappingProxyType(
    {"table": _as_table, "csv": _as_csv, "json": _as_json, "markdown": _as_markdown}
)
"""Lines of an answer, by the name of the format."""


def _texts(answer: Answer) -> Iterator[list[str]]:
    """The rows as text: null as nothing, lists and structs as JSON, times with their whole offset."""
    for row in answer.rows:
        yield [
            _iso(value, between=" ") if at in answer.moments and isinstance(value, str) else _text(value)
            for at, value in enumerate(row)
        ]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case dict() | list() | tuple():
            return json.dumps(_plain(value), ensure_ascii=False)
        case float():
            return str(value)
        case _:
            return str(_plain(value))


def _iso(value: str, *, between: str = "T") -> str:
    """A time as ISO 8601 has it; one that ISO does not have as it is."""
    if parts := _MOMENT.fullmatch(value):
        offset = "" if parts[3] is None else f"{parts[3]}{parts[4] or ':00'}"
        return f"{parts[1]}{between}{parts[2]}{offset}"
    return value


def _plain(value: object) -> object:
    """A value JSON knows: bytes in hex, infinity as DuckDB writes it, what is not a number as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None if math.isnan(value) else str(value)
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return str(value)
