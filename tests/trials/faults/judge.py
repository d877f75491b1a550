"""The verdict on an export: what became of every bad reply, by the server's book and the warehouse alone.

The product's report is used for one thing only: whether it names what it says it could not have.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import duckdb

from pipelines.sandbox.values import FINAL
from pipelines.sandbox.world import World
from tests.trials.faults.exporting import Outcome
from tests.trials.faults.replies import Level
from tests.trials.faults.server import Entry

_SID = re.compile(r"(?:RE|XR|XH)[0-9a-f]{32}")
FATES = ("retried", "quarantined", "reported", "run ended", "taken as it is", "taken, plausible")


@dataclass(frozen=True, slots=True)
class Landed:
    """What an analyst finds in `addons.duckdb`."""

    recordings: frozenset[str]
    results: frozenset[str]
    payloads: frozenset[str]
    contents: dict[str, str] = field(repr=False)
    """SHA-256 of each content, by payload."""
    quarantined: frozenset[str] = field(repr=False)
    """SIDs that quarantine names: of the row, of what it was found under, or in its raw bytes."""


def landed(root: Path) -> Landed:
    """Read the published file."""
    with duckdb.connect(str(root / "addons.duckdb"), read_only=True) as db:
        tables = [frozenset(s for (s,) in db.execute(f"SELECT sid FROM {name}").fetchall()) for name in _TABLES]
        contents = {
            s: sha256(c).hexdigest() for s, c in db.execute("SELECT payload_sid, content FROM contents").fetchall()
        }
        named: set[str] = set()
        for sid, parent, raw in db.execute("SELECT sid, parent_sid, raw FROM quarantine").fetchall():
            named |= {text for text in (sid, parent) if text}
            named |= set(_SID.findall((raw or b"")[:5000].decode("latin-1")))
    recordings, results, payloads = tables
    return Landed(recordings, results, payloads, contents, frozenset(named))


_TABLES = ("recordings", "add_on_results", "add_on_payloads")


def fates(
    entries: Sequence[Entry], outcome: Outcome, found: Landed, world: World
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """How often each mutator's replies met which fate, and what must not be.

    Every reply made bad was followed by an honest one, or is named by quarantine or by the report, or the run ended
    with an error that says so; else it was taken for good, which only what can be read for certain, or is plausible,
    may be.
    """
    last: dict[tuple[Level, str], Entry] = {(e.level, e.key): e for e in entries}
    said = " ".join((*outcome.reasons, outcome.message))
    named = set(_SID.findall(said)) | set(re.findall(r"\d{4}-\d\d-\d\d", said))
    ended = outcome.error not in ("", "IncompleteExport")
    counts: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    for entry in entries:
        if entry.mutator is None:
            continue
        final = last[entry.level, entry.key].mutator
        about = {entry.key}
        if entry.level is Level.RECORDINGS:
            about |= {r.sid for r in world.recordings.values() if r.date_created.date().isoformat() >= entry.key}
        if final is None and entry.level not in (Level.RECORDINGS, Level.RESULTS, Level.PAYLOADS):
            fate = "retried"
        elif entry.key in named:
            fate = "reported"
        elif about & found.quarantined:
            fate = "quarantined"
        elif ended:
            fate = "run ended"
        elif entry.level in entry.mutator.plausible:
            fate = "taken, plausible"
        elif entry.mutator.tolerable:
            fate = "taken as it is"
        elif final is None or last[entry.level, entry.key].mutator is not entry.mutator:
            fate = "retried"
        elif entry.level is Level.DATA and entry.key in found.contents:
            fate = "taken as it is"  # Location was whole, and nothing of the body is used
        elif entry.level is Level.PAYLOADS and entry.mutator.name == "404" and _said_deleted(world, entry.key):
            fate = "taken as it is"  # Twilio has said that there is nothing any more
        else:
            fate = "NOT NOTICED"
            wrong.append(f"{entry.mutator.name} at {entry.level.value} of {entry.key} was not noticed")
        counts[entry.mutator.name, fate] += 1
    return counts, wrong


def losses(entries: Iterable[Entry], outcome: Outcome, found: Landed) -> list[str]:
    """Valid rows and contents that were served whole by honest replies, and are neither landed nor named."""
    if outcome.error not in ("", "IncompleteExport"):
        return []  # what was under way when the run ended comes with the next one
    said = " ".join(outcome.reasons)
    tables = {Level.RECORDINGS: found.recordings, Level.RESULTS: found.results, Level.PAYLOADS: found.payloads}
    lost = []
    for entry in entries:
        if entry.mutator is not None:
            continue
        if entry.level in tables:
            missing = [s for s in entry.sids if s not in tables[entry.level] and entry.key not in said]
            lost += [f"{sid} was listed honestly and is not landed" for sid in missing]
        elif entry.level is Level.CONTENT and entry.key not in found.contents and entry.key not in said:
            lost.append(f"content {entry.key} was served honestly and is not landed")
    return lost


def wrong_bytes(entries: Iterable[Entry], found: Landed, world: World) -> list[str]:
    """Landed contents that are neither the truth nor a version that was served whole."""
    served: dict[str, set[str]] = {}
    for entry in entries:
        if entry.sha256:
            served.setdefault(entry.key, set()).add(entry.sha256)
    wrong = []
    for sid, digest in found.contents.items():
        payload = world.payloads.get(sid)
        true = payload is not None and sha256(payload.content).hexdigest() == digest
        if not true and digest not in served.get(sid, set()):
            wrong.append(f"content {sid} is landed with bytes that nobody served")
    return wrong


def missing(found: Landed, world: World, now: datetime, *, but: frozenset[str] = frozenset()) -> list[str]:
    """What the source shows and is not landed byte for byte; `but`: what was lied about plausibly."""
    lacking = []
    for true in world.truth(now):
        if true.recording.sid in but or true.result.sid in but:
            continue
        if true.recording.sid not in found.recordings:
            lacking.append(true.recording.sid)
        if true.result.sid not in found.results:
            lacking.append(true.result.sid)
        if true.state.status not in FINAL:
            continue
        lacking += [
            payload.sid
            for payload in true.payloads
            if payload.sid not in but and found.contents.get(payload.sid) != sha256(payload.content).hexdigest()
        ]
    return lacking


def _said_deleted(world: World, result: str) -> bool:
    """Whether the source lists the result with the status `deleted`."""
    return any(each.sid == result and each.steps[-1].status == "deleted" for each in world.results.values())
