"""The format that everything kept under a root says it is of, so that an older program leaves what is newer alone.

Commits, sealed files, the marker and `addons.duckdb` carry a stamp: the least format that a program must know to read
them, and to write beside them, and the version of the program that wrote them. Whatever else changes, a newer format
keeps the members `format` and `version` of a commit and of the marker, and a commit's `sha256` over all the others.
What was written before there were stamps counts as format 0.
"""

import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from warehouse.errors import UpdateProgram

FORMAT = 2
"""The format that this program knows; raised when an older program must not read, or not write, what it writes now.

2: transcripts are tables. Who does not know them can read the others, and would land contents without them, and leave
them behind when it erases."""

READABLE_FROM = 1
"""The least format whose programs can read what this one writes."""

NAME = "addon-export"


def _version() -> str:
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:  # run from a folder, never installed
        return "unknown"


VERSION = _version()

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!-]{0,31}")
"""What is repeated of a version that a file gives."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What something says of its format: `read` and `write` are the least that a program must know.

    `unknown` names what is in it that this program does not know, though the numbers say that it could.
    """

    read: int = 0
    write: int = 0
    version: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether this program can read it."""
        return self.read <= FORMAT

    @property
    def writable(self) -> bool:
        """Whether this program may write, or erase, where it is."""
        return self.readable and self.write <= FORMAT and not self.unknown

    def members(self) -> dict[str, object]:
        """As members of a JSON object."""
        return {"format": {"read": self.read, "write": self.write}, "version": self.version}

    def refusal(self, name: object) -> UpdateProgram:
        """Why what it stands on, `name`, is not touched: one sentence with both versions and both formats."""
        version = self.version if _VERSION.fullmatch(self.version) else ""
        by = f"{NAME} {version}" if version else f"another version of {NAME}"
        but = f" and holds what this version does not know ({', '.join(self.unknown[:3])})" if self.unknown else ""
        return UpdateProgram(
            f"{name} was written by {by} in format {max(self.read, self.write)}{but}; this is {VERSION}, which knows "
            f"format {FORMAT}, so it is left as it is: install {'that version' if version else 'the newest version'} "
            "or a later one."
        )


OURS = Stamp(READABLE_FROM, FORMAT, VERSION)
"""On whatever this program writes."""


def stamp_of(members: Mapping[str, object], *, unknown: tuple[str, ...] = ()) -> Stamp:
    """What the members of a JSON object say.

    Raises:
        ValueError: it says something else in their place.
    """
    numbers, version = members.get("format", {}), members.get("version", "")
    if not isinstance(numbers, Mapping) or not isinstance(version, str):
        raise ValueError("its format is not one")
    read, write = numbers.get("read", 0), numbers.get("write", 0)
    if not (type(read) is int and type(write) is int and read >= 0 and write >= 0):
        raise ValueError("its format is not one")
    more = tuple(f"member format.{name}" for name in sorted(numbers.keys() - {"read", "write"}))
    return Stamp(read, write, version, (*unknown, *more))


KEY = b"addon_export.format"
"""Key of the stamp in the metadata of a sealed file; the value is JSON, as in a commit."""


def stored(stamp: Stamp) -> dict[bytes, bytes]:
    """A stamp as key-value metadata of a Parquet file."""
    return {KEY: json.dumps(stamp.members()).encode()}


def stamp_in(metadata: Mapping[bytes, bytes] | None, *, unknown: tuple[str, ...] = ()) -> Stamp:
    """The stamp in the key-value metadata of a Parquet file.

    Raises:
        ValueError: what is there is none.
    """
    members = json.loads((metadata or {}).get(KEY, b"{}"))
    if not isinstance(members, dict):
        raise ValueError("its format is not one")
    return stamp_of(members, unknown=unknown)
