"""Makes `COMMIT-duckdb.tar.xz` and `COMMIT-parquet.tar.xz` beside this file, with the code of that commit.

They are never made again: what they hold is what that version wrote. The imports are those of 44a4b8d on, and may have
to follow those of a later commit. For the archive of another version:

    git worktree add /tmp/then COMMIT
    cp tests/warehouse/store/archives/make.py /tmp/then/
    (cd /tmp/then && PYTHONPATH=. python make.py COMMIT "$OLDPWD/tests/warehouse/store/archives")

In each: results with and without a day, a content in chunks, quarantine that is open and that is resolved, a deletion
at Twilio, a superseded file, a recording that was erased, and `addons.duckdb`.
"""

# mypy: ignore-errors
# ruff: noqa: I001

import hashlib
import io
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import cast

from pipelines.erase.choice import erase_sids
from pipelines.retry import resolve
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import NOON, bad, batch, land_rows, later, payload, recording, result, sid, whole
from warehouse.store.opening import open_archive
from warehouse.contents import SpooledContent
from warehouse.land import land
from warehouse.ledger import DELETED, INTENT, STARTED, Step
from warehouse.append import append
from warehouse.published.publish import publish
from warehouse.store.names import Destination

LARGE = b"a long silence " * 350_000
"""5 MB: more than a chunk; next to nothing when compressed."""

KEPT = {1: b"first", 2: b"second", 3: b"no day yet", 5: b"the day after"}
"""Contents by number of their payload."""


def make(root: Path, destination: Destination) -> None:
    """An archive with something of everything."""
    archive = open_archive(root)
    for number, data in KEPT.items():
        done = None if number == 3 else later(24 if number == 5 else 0)
        land_rows(archive, whole(number, data, done=done))
    land_rows(archive, whole(4, b"of somebody who was erased"))
    digest = hashlib.sha256(LARGE).hexdigest()
    row = payload(6, data=b"", content_length=len(LARGE), content_sha256=digest)
    file = cast("tempfile.SpooledTemporaryFile[bytes]", io.BytesIO(LARGE))
    large = SpooledContent(sid("XH", 6), NOON.date(), True, len(LARGE), digest, file)  # type: ignore[arg-type]  # a file
    rows = [recording(6), result(6, payload_count=1, exported_at=NOON), row]
    land(archive, batch(rows), run_id="test", now=NOON, spooled=[large])
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    land(archive, bad("It was nothing."), run_id="test", now=NOON)
    resolve(archive, [_identity("It was nothing.")], run_id="test", now=NOON)
    for step in (STARTED, INTENT, DELETED):
        of = None if step == STARTED else sid("XR", 2)
        taken = Step(step=step, at=NOON, plan_hash="0" * 64, apply_id="test", host="test", account_sid=sid("AC", 0),
                     add_on_result_sid=of, reference_sid=of and sid("RE", 2))  # fmt: skip
        append(archive, lambda _, taken=taken: [taken], run_id="test", now=NOON)  # type: ignore[misc]  # its default
    erase_sids(archive, destination, recordings=[recording_sid(sid("RE", 4))], now=NOON)
    land_rows(archive, [result(1, at=later(1), status="failed")], now=later(1))
    publish(archive, destination, now=later(1))


def _identity(reason: str) -> str:
    identity = bad(reason)["quarantine"]["quarantine_id"][0].as_py()
    return cast("str", identity)


if __name__ == "__main__":
    commit, folder = sys.argv[1], Path(sys.argv[2])
    destinations: tuple[Destination, ...] = ("duckdb", "parquet")
    for each in destinations:
        with tempfile.TemporaryDirectory() as made:
            make(Path(made) / "root", each)
            with tarfile.open(folder / f"{commit}-{each}.tar.xz", "w:xz") as tar:
                tar.add(Path(made) / "root", arcname="root")
