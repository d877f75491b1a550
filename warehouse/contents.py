"""Landing of contents: which of them are new, on which day they belong, and how large ones are sealed.

Promises: the first content landed for a payload stays, another one is kept in quarantine; a content lies on its
payload's day and moves with it; none is ever held whole that is larger than CHUNK_BYTES.
"""

import codecs
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from itertools import count
from typing import BinaryIO

import pyarrow as pa

from warehouse.errors import RepairWarehouse
from warehouse.quarantine import QuarantineRow
from warehouse.schema import CHUNK_BYTES, CONTENTS
from warehouse.store.archive import Archive
from warehouse.store.commit import LiveFile
from warehouse.store.footers import refuse_newer
from warehouse.store.names import CHUNKED
from warehouse.store.sealed import partition_day

DIFFERS = "The content differs from the one landed under the same payload SID."
"""How the reason of such a content in quarantine begins: kept to be compared, perhaps cut short, never landed."""

QUARANTINED_BYTES = 8 << 20
"""Most that is kept of a large content that differs from the landed one."""


@dataclass(frozen=True, slots=True)
class SpooledContent:
    """A content too large to be held in memory; `file` is open for reading and holds exactly its bytes.

    `sha256` (hex) and `length` (bytes) are those of what came off the wire. Landing reads the file from its start
    and leaves it open.
    """

    payload_sid: str
    completed_date: date | None
    is_text: bool
    length: int
    sha256: str
    file: BinaryIO = field(repr=False)
    codec: str | None = None
    """Python's codec of bytes that are text in another charset than UTF-8."""


@dataclass(frozen=True, slots=True)
class PayloadFacts:
    """What the payload row says: its day, the SHA-256 of the content that is landed or to be landed, its owners."""

    day: date | None
    sha256: str | None
    add_on_result_sid: str | None
    account_sid: str | None


def settle(contents: pa.Table, payloads: Mapping[str, PayloadFacts]) -> tuple[pa.Table, list[QuarantineRow]]:
    """Contents on their payload's day, and quarantine rows for those that differ from the payload's hash."""
    if not contents.num_rows:
        return contents, []
    keep, days, differing = [], [], []
    columns = contents["payload_sid"].to_pylist(), contents["completed_date"].to_pylist(), contents["content"]
    for position, (sid, day, content) in enumerate(zip(*columns, strict=True)):
        payload = payloads.get(sid)
        data = content.as_buffer()
        if payload is None or payload.sha256 in (None, sha256(data).hexdigest()):
            keep.append(position)
            days.append(day if payload is None else payload.day)
        else:
            differing.append(_differing(sid, payload, data.to_pybytes(), ""))
    kept = contents if len(keep) == contents.num_rows else contents.take(pa.array(keep, pa.int64()))
    index = kept.schema.get_field_index("completed_date")
    return kept.set_column(index, CONTENTS.schema.field(index), pa.array(days, pa.date32())), differing


def settle_spooled(
    spooled: Iterable[SpooledContent], payloads: Mapping[str, PayloadFacts]
) -> tuple[list[SpooledContent], list[QuarantineRow]]:
    """The same for large contents, of which quarantine keeps no more than QUARANTINED_BYTES."""
    kept, differing = [], []
    for content in spooled:
        payload = payloads.get(content.payload_sid)
        if payload is None:
            kept.append(content)
        elif payload.sha256 in (None, content.sha256):
            kept.append(dataclasses.replace(content, completed_date=payload.day))
        else:
            content.file.seek(0)
            note = ""
            if content.length > QUARANTINED_BYTES:
                note = f" Of its {content.length} bytes with SHA-256 {content.sha256} only the first are kept."
            differing.append(_differing(content.payload_sid, payload, content.file.read(QUARANTINED_BYTES), note))
    return kept, differing


def _differing(sid: str, payload: PayloadFacts, raw: bytes, note: str) -> QuarantineRow:
    return QuarantineRow("content", sid, payload.add_on_result_sid, payload.account_sid, f"{DIFFERS}{note}", raw)


def seal_spooled(archive: Archive, content: SpooledContent) -> LiveFile:
    """Seal a content as chunks in a file of its own.

    Raises:
        RepairWarehouse: its file does not hold the bytes that came off the wire.
    """
    digest, length = sha256(), 0
    decoder = codecs.getincrementaldecoder(content.codec)("replace") if content.codec is not None else None

    def chunks() -> Iterator[pa.RecordBatch]:
        nonlocal length
        content.file.seek(0)
        for number in count():
            data = read_full(content.file, CHUNK_BYTES)
            if number and not data:
                return
            digest.update(data)
            length += len(data)
            text = None if decoder is None else decoder.decode(data, length == content.length)
            row = [content.payload_sid], [data], [content.is_text], [number], [text]
            columns = [pa.array(values, f.type) for values, f in zip(row, CONTENTS.file_schema, strict=True)]
            del data, row, text
            yield pa.record_batch(columns, schema=CONTENTS.file_schema)

    file = archive.seal(CONTENTS, content.completed_date, chunks(), ending=CHUNKED)
    if (digest.hexdigest(), length) != (content.sha256, content.length):
        (archive.root / file.path).unlink()
        raise RepairWarehouse(
            f"The content of payload {content.payload_sid} as kept on disk does not have the SHA-256 it came with; "
            "nothing was landed."
        )
    return file


def read_full(file: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end: a raw file may give less than it is asked for."""
    data = file.read(size)
    while data and len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def moved(archive: Archive, file: LiveFile, days: Mapping[str, date | None]) -> list[LiveFile]:
    """Seal the rows of one contents file anew, split between its own day and the days its payloads moved to.

    Raises:
        RepairWarehouse: the file is damaged.
    """
    refuse_newer(archive.root, [archive.sound(file)])
    home = partition_day(file)
    targets = {day for batch in archive.read(file, CONTENTS, ["payload_sid"]) for day in _days(batch, days, home)}

    def rows(target: date | None) -> Iterator[pa.RecordBatch]:
        for batch in archive.read(file, CONTENTS):
            wanted = pa.array([day == target for day in _days(batch, days, home)], pa.bool_())
            if (part := batch.filter(wanted)).num_rows:
                yield part

    ending = CHUNKED if file.chunked else ".parquet"
    return [archive.seal(CONTENTS, target, rows(target), ending=ending) for target in targets]


def _days(batch: pa.RecordBatch, days: Mapping[str, date | None], home: date | None) -> list[date | None]:
    return [days.get(sid, home) for sid in batch["payload_sid"].to_pylist()]
