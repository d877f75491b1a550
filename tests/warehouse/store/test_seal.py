"""EXPORT_SEAL_KEY: what somebody without the key committed is neither built on nor found good."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from pipelines.errors import FixConfiguration
from pipelines.opening import to_read, to_write
from pipelines.settings import WarehouseSettings, warehouse_settings
from tests.warehouse.made_up import NOON, land_rows, later, whole
from warehouse.errors import NotSealed
from warehouse.published.publish import publish
from warehouse.store.commits import commit_path
from warehouse.upkeep.verify import verify

KEY = "k" * 32


def settings(root: Path, key: str = KEY) -> WarehouseSettings:
    """Of an archive that is sealed with `key`; without any for an empty one."""
    return warehouse_settings({"EXPORT_ROOT": str(root), "EXPORT_SEAL_KEY": key})


def forge(root: Path, number: int) -> None:
    """Change a commit as somebody could who may write there and has no key: its own hash is right again."""
    path = commit_path(root, number)
    body = json.loads(path.read_bytes())
    body.pop("sha256")
    body["run_id"] = "mallory"
    text = json.dumps(body, separators=(",", ":")).encode()
    path.write_bytes(json.dumps({**body, "sha256": sha256(text).hexdigest()}, separators=(",", ":")).encode())


def test_what_is_sealed_is_built_on_and_one_without_the_key_can_read_it(tmp_path: Path) -> None:
    """Several commits, published, verified with the key and without."""
    archive = to_write(settings(tmp_path))
    for number in (1, 2):
        land_rows(archive, whole(number), now=later(number))
    publish(to_write(settings(tmp_path)), "duckdb", now=NOON)
    assert verify(to_read(settings(tmp_path))).mismatches == ()
    assert verify(to_read(settings(tmp_path, ""))).mismatches == ()
    assert KEY not in "".join(path.read_text() for path in (tmp_path / "_commits").iterdir())
    assert KEY not in repr(archive) + repr(settings(tmp_path))


def test_a_forged_commit_is_found_and_nothing_is_built_on_it(tmp_path: Path) -> None:
    """Without the key it looks good: that is what the key is for."""
    archive = to_write(settings(tmp_path))
    land_rows(archive, whole(1))
    publish(archive, "parquet", now=NOON)
    forge(tmp_path, 1)
    assert verify(to_read(settings(tmp_path, ""))).mismatches == ()
    (mismatch,) = verify(to_read(settings(tmp_path))).mismatches
    assert (mismatch.kind, mismatch.subject) == ("seal", commit_path(tmp_path, 1).name)
    with pytest.raises(NotSealed, match="not of this key"):
        to_write(settings(tmp_path))
    with pytest.raises(NotSealed):  # by a process that had opened it before
        land_rows(archive, whole(2))
    assert archive.head().number == 1


@pytest.mark.parametrize("key", ["", "x" * 32], ids=["without a key", "with another key"])
def test_what_others_committed_is_refused_until_it_is_adopted(tmp_path: Path, key: str) -> None:
    """An archive of before the key, or a process that was not given it."""
    land_rows(to_write(settings(tmp_path, key)), whole(1))
    with pytest.raises(NotSealed, match="addon-export seal"):
        to_write(settings(tmp_path))
    archive = to_write(settings(tmp_path), adopting=True)
    before = archive.head()
    assert archive.adopt(before, at=NOON) == 2
    assert archive.head().tables == before.tables
    land_rows(to_write(settings(tmp_path)), whole(2))


def test_a_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    """Its value is not repeated."""
    with pytest.raises(FixConfiguration, match="32 characters") as raised:
        settings(tmp_path, "short-key")
    assert "short-key" not in str(raised.value)


def test_a_seal_covers_all_that_a_commit_says(tmp_path: Path) -> None:
    """A seal of one commit is none of another one."""
    archive = to_write(settings(tmp_path))
    land_rows(archive, whole(1))
    first = archive.head()
    land_rows(archive, whole(2), now=later(1))
    second = archive.head()
    assert first.seal != second.seal
    path = commit_path(tmp_path, 2)
    path.write_text(path.read_text().replace(second.seal, first.seal))
    body = json.loads(path.read_bytes())
    body.pop("sha256")
    text = json.dumps(body, separators=(",", ":")).encode()
    path.write_bytes(json.dumps({**body, "sha256": sha256(text).hexdigest()}, separators=(",", ":")).encode())
    with pytest.raises(NotSealed):
        land_rows(archive, whole(3))
