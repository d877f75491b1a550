"""Contents in pieces: what is read of them, and how their hashes are told, without holding a whole one. Pure."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

import pyarrow as pa

PIECES = ("payload_sid", "chunk", "content")
"""The columns from which `hashed` tells whose content is what."""

PART_BYTES = 16 << 20
"""Of contents that the published file keeps together in one inner table; what reads one holds it whole."""


def hashed(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str, int]]:
    """SID, SHA-256 and length of each content, from rows of PIECES; no more than a batch is held.

    The chunks of a content follow one another in order and are numbered from 0; others hash to something else.
    """
    current, digest, length, number = None, sha256(), 0, 0
    for batch in batches:
        columns = batch["payload_sid"].to_pylist(), batch["chunk"].to_pylist(), batch["content"]
        for sid, chunk, content in zip(*columns, strict=True):
            if current is not None and (sid != current or not chunk):
                yield current, digest.hexdigest(), length
                digest, length, number = sha256(), 0, 0
            current, data = sid, content.as_buffer()
            digest.update(data)
            if (chunk or 0) != number:
                digest.update(b"out of order")  # whoever puts them together by number gets something else
            length += data.size
            number += 1
    if current is not None:
        yield current, digest.hexdigest(), length
