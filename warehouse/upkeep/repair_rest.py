"""Repair, the rest: remaining rows say what is not there any more, so that the next export asks for it."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.pieces import PIECES, hashed
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS, Table
from warehouse.states import RECORDING_LOOK_BACK
from warehouse.store.commit import LiveFile
from warehouse.store.sealed import partition_day
from warehouse.upkeep.repair_work import Repair


def settle(work: Repair) -> None:
    """Make the remaining rows say what is not there any more, so that the next export asks for it."""
    if not work.drop:
        return
    lost = {file.table for file in work.drop} & {label.split()[0] for label in work.gone}
    contents = any(f.path.startswith(f"{CONTENTS.name}/") for f in work.drop)
    if contents or ADD_ON_PAYLOADS.name in lost:
        _settle_payloads(work)
    if contents or {ADD_ON_PAYLOADS.name, ADD_ON_RESULTS.name} & lost:
        _settle_results(work)
    if ADD_ON_RESULTS.name in lost:
        since = (work.now - RECORDING_LOOK_BACK).astimezone(UTC).date() - timedelta(days=1)
        listed = [f for f in _live(work, RECORDINGS) if (partition_day(f) or since) >= since]
        _rewrite(
            work,
            RECORDINGS,
            listed,
            lambda rows: _blank(rows, ["listed_at", "open_results"], set(_column(rows, "sid"))),
        )


def _live(work: Repair, table: Table) -> list[LiveFile]:
    """Live files of a table as they will be."""
    dropped = {file.path for file in work.drop}
    kept = [file for path, file in work.head.tables[table.name].items() if path not in dropped]
    return kept + [file for file in work.add if file.path.startswith(f"{table.name}/")]


def _settle_payloads(work: Repair) -> None:
    """Payloads whose content is gone say so; a content whose payload is gone gets a row of what is known of it."""
    archive = work.archive
    there = {
        sid: (digest, length, partition_day(file))
        for file in _live(work, CONTENTS)
        for sid, digest, length in hashed(archive.read(file, CONTENTS, PIECES))
    }
    known: set[str] = set()
    wrong: set[str] = set()
    for file in _live(work, ADD_ON_PAYLOADS):
        for batch in archive.read(file, ADD_ON_PAYLOADS, ["sid", "content_sha256"]):
            for sid, digest in zip(_column(batch, "sid"), _column(batch, "content_sha256"), strict=True):
                known.add(sid)
                if digest is not None and there.get(sid, (None,))[0] != digest:
                    wrong.add(sid)
                    work.again[f"{CONTENTS.name} {file.folder.partition('=')[2]}"] += 1
    facts = ["content_length", "content_sha256", "fetched_at"]
    _rewrite(work, ADD_ON_PAYLOADS, _live(work, ADD_ON_PAYLOADS), lambda rows: _blank(rows, facts, wrong))
    days: dict[date | None, list[dict[str, object]]] = {}
    for sid, (digest, length, day) in there.items():
        if sid not in known:
            days.setdefault(day, []).append({"sid": sid, "content_sha256": digest, "content_length": length})
    for day, rows in days.items():
        made = pa.Table.from_pylist(rows, schema=ADD_ON_PAYLOADS.file_schema)
        work.add.append(archive.seal(ADD_ON_PAYLOADS, day, made.to_batches()))


def _settle_results(work: Repair) -> None:
    """Results that lack a payload or a content are no longer exported."""
    archive = work.archive
    whole: Counter[str] = Counter()
    for file in _live(work, ADD_ON_PAYLOADS):
        for batch in archive.read(file, ADD_ON_PAYLOADS, ["add_on_result_sid", "content_sha256"]):
            columns = _column(batch, "add_on_result_sid"), _column(batch, "content_sha256")
            whole.update(result for result, digest in zip(*columns, strict=True) if digest is not None)

    def lacking(rows: pa.Table) -> pa.Table:
        columns = _column(rows, "sid"), _column(rows, "payload_count"), _column(rows, "exported_at")
        short = {sid for sid, count, at in zip(*columns, strict=True) if at is not None and whole[sid] < (count or 0)}
        return _blank(rows, ["exported_at"], short)

    _rewrite(work, ADD_ON_RESULTS, _live(work, ADD_ON_RESULTS), lacking)


def _column(rows: pa.Table | pa.RecordBatch, name: str) -> list[Any]:
    return rows[name].to_pylist()  # type: ignore[no-any-return]  # Arrow has no types


def _blank(rows: pa.Table, columns: Iterable[str], sids: set[str]) -> pa.Table:
    """`rows` with nulls in `columns` of the rows with these SIDs."""
    mask = pc.is_in(rows["sid"], value_set=pa.array(sorted(sids), pa.string()))
    for name in columns:
        index = rows.schema.get_field_index(name)
        column = pc.if_else(mask, pa.scalar(None, rows.schema.field(index).type), rows[name])
        rows = rows.set_column(index, rows.schema.field(index), column)
    return rows


def _rewrite(work: Repair, table: Table, files: list[LiveFile], change: Callable[[pa.Table], pa.Table]) -> None:
    """Seal anew those of `files` that `change` changes."""
    for file in files:
        rows = pa.Table.from_batches(work.archive.read(file, table), schema=table.file_schema)
        changed = change(rows)
        if changed.equals(rows):
            continue
        sealed = work.archive.seal(table, partition_day(file), changed.to_batches())
        if file in work.add:
            work.add.remove(file)
            (work.archive.root / file.path).unlink()
        else:
            work.drop.append(work.archive.sound(file))
        work.add.append(sealed)
