"""Numbered commits: each names every live file of every table, so one number is one consistent state.

A commit file is created only if its number is free (`link` of a finished file), which makes two processes
landing at once safe: the loser reads the winner's commit, merges again and takes the next number.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from warehouse.errors import CommitRace, RepairWarehouse, Untrusted
from warehouse.store import names
from warehouse.store.commit import EMPTY, Commit, Files, LiveFile
from warehouse.store.files import Access, cannot, put, refuse_links
from warehouse.store.names import COMMITS
from warehouse.store.opens import read_bytes
from warehouse.store.stamp import OURS, Stamp, stamp_of
from warehouse.tables import PARTITIONS

FOLDER = COMMITS

_MEMBERS = {"commit", "at", "run_id", "tables", "format", "version"}

_FACTS = {"rows", "bytes", "sha256"}

_TOO_MANY = 1 << 62

_SHA256 = re.compile("[0-9a-f]{64}").fullmatch


def commit_path(root: Path, number: int) -> Path:
    """Where commit `number` is stored."""
    return root / FOLDER / f"{number:012d}.json"


def numbers(root: Path) -> list[int]:
    """The commits there are, ascending.

    Raises:
        FixWarehouse: the folder cannot be read.
        Untrusted: it is a link.
    """
    refuse_links(root, FOLDER)
    try:
        found = [path.name for path in (root / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot("read", root / FOLDER, error) from error
    return sorted(number for name in found if (number := names.commit_number(name)) is not None)


def head(root: Path) -> Commit:
    """The newest commit, or EMPTY.

    Raises:
        RepairWarehouse, FixWarehouse: as `load`.
    """
    found = numbers(root)
    while found:
        try:
            return load(root, found[-1])
        except FileNotFoundError:
            # an erasure removes what is superseded at once: there must be a newer one
            before, found = found, numbers(root)
            if found[-1:] == before[-1:]:
                raise
    return EMPTY


def load(root: Path, number: int) -> Commit:
    """Read one commit; each file it names has a name of our own form.

    Raises:
        RepairWarehouse: the commit file does not hold what was committed, or names files outside the root.
        UpdateProgram: it is of a format that this program does not know.
        FixWarehouse: it cannot be read.
        FileNotFoundError: there is none.
    """
    path = commit_path(root, number)
    name = path.relative_to(root)
    damaged = f"Commit file {name} is damaged; run `addon-export rebuild --archive` or restore it from a backup."
    try:
        body = json.loads(read_bytes(root, f"{COMMITS}/{path.name}"))
        whole = body.pop("sha256") == _fingerprint(body)
        seal = str(body.pop("seal", ""))
        stamp = stamp_of(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Untrusted) as error:
        if path.parent.is_symlink():
            raise
        raise RepairWarehouse(damaged) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot("read", path, error) from error
    if not stamp.readable and (whole or stamp.version != OURS.version):
        raise stamp.refusal(name)
    if not whole or body.get("commit") != number:
        raise RepairWarehouse(damaged)
    try:
        return replace(_commit(body, stamp), digest=_fingerprint(body), seal=seal)
    except _Outside as error:
        raise RepairWarehouse(
            f"Commit file {name} names a file that no version of this program made: it is damaged or not ours, and "
            "nothing it names was touched; run `addon-export rebuild --archive` or restore it from a backup."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # its hash is right, so this is no damage
        raise replace(stamp, unknown=(*stamp.unknown, "another layout")).refusal(name) from error


class _Outside(Exception):
    """A name in a commit that may lead out of the root."""


def _commit(body: Mapping[str, Any], stamp: Stamp) -> Commit:
    """What a whole commit file says; an exception where that is not in our form."""
    unknown = [f"member {member}" for member in sorted(body.keys() - _MEMBERS)]
    tables: dict[str, Files] = {name: {} for name in PARTITIONS}
    for table, files in body["tables"].items():
        if table not in PARTITIONS:
            unknown.append(f"table {table if names.PLAIN.fullmatch(table) else '?'}")
        for path, facts in files.items():
            if not names.is_within(path):
                raise _Outside
            if not names.is_live(path) or path.split("/")[0] != table:
                raise ValueError("another layout")
            if not _are_facts(facts):
                raise ValueError("another layout")
            unknown += [f"member {member} of a file" for member in sorted(facts.keys() - _FACTS)]
        tables[table] = {p: LiveFile(p, f["rows"], f["bytes"], f["sha256"]) for p, f in files.items()}
    at = datetime.fromisoformat(body["at"])
    every = (*stamp.unknown, *dict.fromkeys(unknown))
    return Commit(body["commit"], at, body["run_id"], tables, replace(stamp, unknown=every))


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether rows and bytes are numbers of them, and the hash is one."""
    counts = (facts["rows"], facts["bytes"])
    return all(type(count) is int and 0 <= count < _TOO_MANY for count in counts) and bool(_SHA256(facts["sha256"]))


def _fingerprint(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()


def _dump(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def save(root: Path, commit: Commit, access: Access, *, sealed: Callable[[str], str] | None = None) -> Commit:
    """Make `commit` durable under its number, with the seal that `sealed` makes of its digest; returns it with both.

    Raises:
        CommitRace: another process has taken the number.
    """
    body: dict[str, object] = {
        "commit": commit.number,
        "at": commit.at.isoformat(),
        "run_id": commit.run_id,
        **commit.stamp.members(),
        "tables": {
            name: {f.path: {"rows": f.rows, "bytes": f.bytes, "sha256": f.sha256} for f in files.values()}
            for name, files in commit.tables.items()
        },
    }
    digest = _fingerprint(body)
    if sealed is not None:
        body["seal"] = sealed(digest)
    path = commit_path(root, commit.number)
    try:
        put(root, FOLDER, path.name, _dump({**body, "sha256": _fingerprint(body)}), access, replace=False)
    except FileExistsError as error:
        raise CommitRace(f"Commit {commit.number} was taken by another process; run again.") from error
    return replace(commit, digest=digest, seal=str(body.get("seal", "")))
