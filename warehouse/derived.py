"""The derived tables in step with contents: what a commit adds to them and drops, whoever makes it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from warehouse.schema import ADD_ON_PAYLOADS, DERIVED
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import LiveFile
from warehouse.store.sealed import by_day
from warehouse.transcripts.derive import Reader, derive
from warehouse.transcripts.engine import PAYLOADS
from warehouse.transcripts.shapes import shapes
from warehouse.transcripts.texts import sliced

PAYLOAD = "payload_sid"

DERIVED_FROM = tuple(name for name in PAYLOADS.names if name in ADD_ON_PAYLOADS.names)
"""What is taken over from the row of a payload, or read with it."""


@dataclass(slots=True)
class Replaced:
    """Files to add and to drop, of all derived tables, and how many rows were made, by table."""

    add: list[LiveFile] = field(default_factory=list)
    drop: list[LiveFile] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)


def reader_of(archive: Archive) -> Reader:
    """The shapes that are in use now."""
    return Reader(shapes(archive.root).usable)


def payloads_sql(payloads: str, recordings: str) -> str:
    """SQL for the facts of payloads that deriving needs (PAYLOADS), from relations of both tables."""
    elsewhere = {"payload_sid": "p.sid AS payload_sid", "call_sid": "r.call_sid"}
    facts = ", ".join(elsewhere.get(name, f"p.{name}") for name in PAYLOADS.names)
    return f"SELECT {facts} FROM {payloads} p LEFT JOIN {recordings} r ON r.sid = p.reference_sid"


def derived(
    archive: Archive, texts: Iterable[pa.Table], payloads: pa.Table, reader: Reader, *, load_id: str
) -> Replaced:
    """Seal the rows that follow from `texts`; no more than a slice of them is held.

    Raises:
        OSError, ArrowException: what `texts` reads is missing or damaged.
    """
    done = Replaced()
    for some in sliced(texts):
        made = derive(some, payloads, reader, load_id=load_id)
        for table in DERIVED:
            rows = made[table.name]
            done.made[table.name] = done.made.get(table.name, 0) + rows.num_rows
            for day, part in by_day(table, rows).items():
                ordered = part.sort_by(table.key).to_batches(max_chunksize=256)
                done.add.append(archive.seal(table, day, ordered))
    return done


def without(snapshot: Snapshot, sids: Collection[str], days: Collection[date | None]) -> Replaced:
    """Take what was derived of payloads out of the files of these days.

    Raises:
        RepairWarehouse: a file that holds some of it is damaged.
    """
    archive, gone = snapshot.archive, Replaced()
    wanted = pa.array(sorted(sids), pa.string())
    for table in DERIVED:
        files = {file.path: file for file in snapshot.files(table, days)}
        for path in archive.keys.holding(archive.root, files, PAYLOAD, wanted):
            gone.drop.append(archive.sound(files[path]))
            gone.add += archive.rest(table, files[path], PAYLOAD, wanted)
    return gone
