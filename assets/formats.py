"""Answers on stdout: as aligned text for people, as CSV or JSON for programs."""

import csv
import io
import itertools
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from types import MappingProxyType

from pipelines.query import Answer

LINE = 110
"""Width of printed answers, in characters."""

NARROW = 24
"""A long last column is wrapped, but to no less than this."""


def table(answer: Answer) -> str:
    """The whole answer as aligned text; a long last column is wrapped."""
    names = list(answer.columns)
    rows = [[_text(value).replace("\n", " ") for value in row] for row in answer.rows]
    widths = [max(len(cell) for cell in column) for column in zip(names, *rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(NARROW, LINE - indent)
    widths[-1] = min(widths[-1], room)
    lines = []
    for row in [names, ["-" * width for width in widths], *rows]:
        start = "".join(cell.ljust(width + 2) for cell, width in zip(row[:-1], widths[:-1], strict=True))
        wrapped = textwrap.wrap(row[-1], room) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * indent + more for more in wrapped[1:])]
    return "\n".join(lines)


def _as_table(answer: Answer) -> Iterator[str]:
    yield table(answer)


def _as_csv(answer: Answer) -> Iterator[str]:
    """One line a row, null as nothing."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="")
    for row in itertools.chain([answer.columns], answer.rows):
        line.seek(0)
        line.truncate()
        writer.writerow([_text(value) for value in row])
        yield line.getvalue()


def _as_json(answer: Answer) -> Iterator[str]:
    """An array with one object a row, one row a line."""
    before = "["
    for row in answer.rows:
        yield before + json.dumps(dict(zip(answer.columns, map(_plain, row), strict=True)), ensure_ascii=False)
        before = ","
    yield "[]" if before == "[" else "]"


FORMATS: Mapping[str, Callable[[Answer], Iterator[str]]] = MappingProxyType(
    {"table": _as_table, "csv": _as_csv, "json": _as_json}
)
"""Lines of an answer, by the name of the format."""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(_plain(value), ensure_ascii=False)
    plain = _plain(value)
    return plain.replace("T", " ") if isinstance(value, datetime) and isinstance(plain, str) else str(plain)


def _plain(value: object) -> object:
    """A value JSON knows: times in ISO 8601, bytes in hex, what is not a number as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return str(value)
