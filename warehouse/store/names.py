"""The one list of names that this program makes under a root. Whatever removes or looks for files goes by it.

A file is ours when its whole path has a form that is listed here; whatever else lies there belongs to somebody else
and is never changed, moved or removed. Names alone: nothing here looks at a disk.
"""

import re
from collections.abc import Iterator
from datetime import date
from enum import Enum
from typing import Literal

from warehouse.tables import PARTITIONS

COMMITS = "_commits"
"""Folder of the numbered commits."""

ASIDE = "_damaged"
"""Folder for damaged files: kept for whoever wants to look, until something is erased; never read."""

SHAPES = "_shapes"
"""Folder for shapes of the operator's own. We make nothing in it, so nothing in it is ours or strange."""

MARKER = "_archive.json"
"""Says that the root is ours."""

Destination = Literal["duckdb", "parquet"]
"""What the published file holds: tables of its own, or views of the files of the archive."""

PUBLISHED = "addons.duckdb"
"""What analysts open: a link to the newest of the published files.

The file behind the link has the same name, in a folder of its own: DuckDB 1.5 calls the catalog by the name of the file
that a link leads to, and it must be `addons` after every publication.
"""

SHELF = ".published"
"""Folder of the published files, each in a folder whose name ends with the SHA-256 it was published with."""

FACTS = "_facts"
"""Folder of what was worked out of sealed files, for nobody to read them for it again: see `warehouse.store.facts`."""

OF_ALL = "all"
"""In the name of facts, for the identity of a file: they are those of all files of a table."""

DELTA = "_delta_log"
"""Folder in that of a table: its files, as engines that know Delta read them. See `warehouse.published.delta`."""

_KEPT = r"\.addons-"
"""Start of the names of published files of the first versions, which ended with the SHA-256."""

ARCHIVE_LOCK, PUBLISH_LOCK, DELETE_LOCK, ERASING = ".archive.lock", ".publish.lock", ".delete.lock", ".erasing"

TURN_LOCK = ".turn.lock"
"""Who holds it asks the source; `.turn-KIND.lock` is held by the one of a kind that waits for it."""

CHUNKED = ".chunks.parquet"
"""How the name of a file ends whose rows are the chunks of one large content."""

NULL_DAY = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for the null partition: rows whose day is not known yet."""

PLAIN = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
"""A name of a table or column as we give them."""

_ID = "[0-9a-f]{32}"
_DAY = rf"(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{NULL_DAY})"
_FILE = rf"{_ID}(?:\.chunks)?\.parquet"
_LOG = r"\.wal(?:\.checkpoint|\.recovery)?"
_SHOWN = rf"(?:{re.escape(SHELF)}/{_ID}-[0-9a-f]{{64}}/{re.escape(PUBLISHED)}|{_KEPT}{_ID}-[0-9a-f]{{64}}\.duckdb)"
_COMMIT = re.compile(r"([0-9]{12})\.json")

_SEALED_OF = "|".join(
    name if partition is None else f"{name}/{partition}={_DAY}" for name, partition in PARTITIONS.items()
)

_DELTA_OF = rf"(?:{'|'.join(PARTITIONS)})/{DELTA}"


class Made(Enum):
    """What something of ours is, by its name alone."""

    SEALED = rf"(?:{_SEALED_OF})/{_FILE}"
    COMMIT = rf"{COMMITS}/[0-9]{{12}}\.json"
    BEGUN = rf"(?:(?:{_SEALED_OF}|{_DELTA_OF}|{COMMITS}|{FACTS})/)?\.{_ID}\.tmp(?:/.+)?"
    """A file that has no name of its own yet, or the folder in which a file is published; left by a kill."""
    SPILL = rf"\.{_ID}\.spill(?:/.+)?"
    """What did not fit into memory."""
    SHOWN = _SHOWN
    LOG = rf"(?:{_SHOWN}|{re.escape(PUBLISHED)}){_LOG}"
    """What DuckDB leaves beside a published file that somebody has opened to write to it, and shows to every reader."""
    FACTS = rf"{FACTS}/(?:{_ID}|{OF_ALL})\.{PLAIN.pattern}"
    """Facts of one sealed file, by the identity in its name, or of all files of a table."""
    DELTA = rf"{_DELTA_OF}/(?:[0-9]{{20}}\.(?:json|checkpoint\.parquet)|_last_checkpoint)"
    ASIDE = rf"{ASIDE}/(?:(?:{_SEALED_OF.replace('/', '[.]')})\.{_FILE}|{COMMITS}\.[0-9]{{12}}\.json|{MARKER})"
    SINGLE = "|".join(
        (
            *map(re.escape, (MARKER, PUBLISHED, ARCHIVE_LOCK, PUBLISH_LOCK, DELETE_LOCK, ERASING, TURN_LOCK)),
            r"\.turn-[a-z]+\.lock",
        )
    )


_FORMS = [(kind, re.compile(kind.value, re.ASCII | re.DOTALL)) for kind in Made]

_FOLDERS = re.compile(
    rf"{_SEALED_OF}|{_DELTA_OF}|{'|'.join(PARTITIONS)}|{COMMITS}|{ASIDE}|{FACTS}|{re.escape(SHELF)}(?:/{_ID}-[0-9a-f]{{64}})?",
    re.ASCII,
)

_OTHER_TABLE = re.compile(rf"({PLAIN.pattern})/(?:{PLAIN.pattern}={_DAY}/)?{_FILE}", re.ASCII)


def made(path: str) -> Made | None:
    """What the file at `path` (relative to the root, `/` between names) is of ours; None when it is a stranger's."""
    for kind, form in _FORMS:
        if form.fullmatch(path):
            return kind if _days_exist(path) else None
    return None


def identity(path: str) -> str:
    """What tells a sealed file, or facts of it, from every other: how the name of either starts."""
    return path.rpartition("/")[2].partition(".")[0]


def is_folder(path: str) -> bool:
    """Whether a folder at `path` is one that we make and keep files in."""
    return _FOLDERS.fullmatch(path) is not None and _days_exist(path)


def is_live(path: str) -> bool:
    """Whether a commit may name a file so: as one of ours, or of a table that only a newer version knows."""
    if made(path) is Made.SEALED:
        return True
    found = _OTHER_TABLE.fullmatch(path)
    return found is not None and found[1] not in PARTITIONS and _days_exist(path)


def is_within(path: str) -> bool:
    """Whether a path cannot lead out of the folder it is relative to, however it is put together with that."""
    parts = path.split("/")
    return not {"", ".", ".."} & {*parts} and path.isprintable() and "\\" not in path


def published_sha256(path: str) -> str | None:
    """The SHA-256 (hex) that a published file at `path` was published with; None when it is none of ours."""
    return path.removesuffix(f"/{PUBLISHED}").removesuffix(".duckdb")[-64:] if made(path) is Made.SHOWN else None


def commit_number(name: str) -> int | None:
    """The number of the commit whose file has this name; None when it is no name of one."""
    found = _COMMIT.fullmatch(name)
    return int(found[1]) if found else None


def set_aside(path: str) -> str:
    """Where a damaged file of ours is kept."""
    return f"{ASIDE}/{path.replace('/', '.')}"


def sealed_in(text: str) -> Iterator[str]:
    """Every path of a sealed file that a text holds."""
    yield from (found[0] for found in re.finditer(Made.SEALED.value, text, re.ASCII) if _days_exist(found[0]))


def _days_exist(path: str) -> bool:
    """Whether each day in a path is one of the calendar."""
    for text in re.findall(r"=([0-9]{4}-[0-9]{2}-[0-9]{2})", path):
        try:
            date.fromisoformat(text)
        except ValueError:
            return False
    return True
