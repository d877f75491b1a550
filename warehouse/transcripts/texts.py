"""The texts of contents, however they are kept: rows, chunks in a file of their own, or a file of the spool."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.contents import SpooledContent, read_full
from warehouse.schema import CONTENTS
from warehouse.store.archive import Archive
from warehouse.store.commit import LiveFile
from warehouse.store.sealed import partition_day
from warehouse.transcripts.engine import TEXTS
from warehouse.transcripts.readable import LARGEST_BYTES

SLICE_BYTES = 6 << 20
"""Texts that are derived at once, unless one is longer."""

_READ = ("payload_sid", "content", "is_text", "text")


def of_rows(contents: pa.Table) -> pa.Table:
    """TEXTS of whole rows of `contents`; those that are no text are left out."""
    rows = contents.filter(pc.or_(contents["is_text"], pc.is_valid(contents["text"])))
    data = pc.if_else(rows["is_text"], rows["content"], pc.cast(rows["text"], pa.binary()))
    small = pc.less_equal(pc.binary_length(data), LARGEST_BYTES)
    data = pc.if_else(small, data, pa.scalar(None, pa.binary()))
    try:
        text = pc.cast(data, pa.string())
    except pa.ArrowInvalid:  # whoever said that it is text in UTF-8 was wrong, which must not stop the others
        text = pa.array([None if row is None else row.decode(errors="replace") for row in data.to_pylist()])
    return pa.table([rows["payload_sid"], rows["completed_date"], text], schema=TEXTS)


def of_spooled(content: SpooledContent) -> pa.Table:
    """TEXTS of a content in the spool."""
    if not content.is_text and content.codec is None:
        return TEXTS.empty_table()
    text = None
    if content.length <= LARGEST_BYTES:
        content.file.seek(0)
        text = read_full(content.file, content.length).decode(content.codec or "utf-8", "replace")
    return pa.table([[content.payload_sid], [content.completed_date], [text]], schema=TEXTS)


def in_file(archive: Archive, file: LiveFile, wanted: pa.Array) -> Iterator[pa.Table]:
    """TEXTS of the payloads in a sealed file of contents that are `wanted`, no more than a row group at once.

    Raises:
        OSError, ArrowException: the file is missing or damaged.
    """
    day = pa.scalar(partition_day(file), pa.date32())
    batches = archive.read(file, CONTENTS, _READ)
    for rows in [_together(batches)] if file.chunked else map(pa.table, batches):
        found = rows.filter(pc.is_in(rows["payload_sid"], value_set=wanted))
        if found.num_rows:
            yield of_rows(found.append_column("completed_date", pa.repeat(day, found.num_rows)))


def sliced(texts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same texts, SLICE_BYTES at once."""
    held: list[pa.Table] = []
    size = 0
    for some in texts:
        for start, count in _cuts(some):
            part = some.slice(start, count)
            length = part.nbytes
            if held and size + length > SLICE_BYTES:
                yield pa.concat_tables(held)
                held, size = [], 0
            held.append(part)
            size += length
    if held:
        yield pa.concat_tables(held)


def _cuts(texts: pa.Table) -> Iterator[tuple[int, int]]:
    """Where parts of a quarter of SLICE_BYTES begin, and how many rows they have."""
    start = size = 0
    for place, length in enumerate(pc.fill_null(pc.binary_length(texts["text"]), 0).to_pylist()):
        if size and size + length > SLICE_BYTES // 4:
            yield start, place - start
            start, size = place, 0
        size += length
    if start < texts.num_rows:
        yield start, texts.num_rows - start


def _together(chunks: Iterable[pa.RecordBatch]) -> pa.Table:
    """One row of the chunks of one content; of a larger one than is read, no more than shows that it is."""
    content, text, first = bytearray(), [], None
    for batch in chunks:
        first = first or batch.slice(0, 1).to_pylist()[0]
        if len(content) <= LARGEST_BYTES:
            for data in batch["content"]:
                content += data.as_buffer()
            text += batch["text"].to_pylist()
    if first is None:
        raise pa.ArrowInvalid("A file of chunks has none.")
    whole = "".join(part or "" for part in text) if any(part is not None for part in text) else None
    schema = pa.schema([CONTENTS.schema.field(name) for name in _READ])
    return pa.table([[first["payload_sid"]], [bytes(content)], [first["is_text"]], [whole]], schema=schema)
