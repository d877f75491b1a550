"""Every documented way to read, with its real client, and that a question about one day reads one day's files."""

import csv
import datetime
import io
import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import adbc_driver_duckdb
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from adbc_driver_manager import ProgrammingError, dbapi

from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact

DESTINATIONS: tuple[Destination, ...] = ("duckdb", "parquet")
DAY = NOON.date()

QUESTION = "SELECT completed_date, vendor, count(*) AS transcripts FROM transcripts GROUP BY ALL ORDER BY ALL"


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an archive with three days, one result without a day, and superseded files; not published."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    for number in range(6):
        done = NOON + timedelta(days=number % 3)
        land_rows(archive, whole(number, b'{"text": "made up"}', is_text=True, done=done))
    land_rows(archive, whole(6, b"no day", is_text=True, done=None))
    compact(archive, now=NOON + timedelta(days=9), run_id="test", thorough=True)
    return archive.root


@pytest.fixture(scope="module", params=DESTINATIONS)
def published(request: pytest.FixtureRequest, landed: Path) -> Path:
    """The published file, as either destination."""
    publish(open_archive(landed), request.param, now=NOON)
    return landed / PUBLISHED


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the library this project is built on answers."""
    with duckdb.connect(str(path), read_only=True) as db:
        return db.execute(sql).fetchall()


def by_command_line(path: Path, sql: str) -> list[list[str]]:
    """What DuckDB's own command line, of version 1.5, answers."""
    client = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    assert client is not None
    done = subprocess.run(
        [client, "-readonly", "-csv", str(path), sql], capture_output=True, text=True, check=True, timeout=60
    )
    return list(csv.reader(io.StringIO(done.stdout)))[1:]


EXPECTED = [(DAY + timedelta(days=n), "text", 2) for n in range(3)] + [(None, "text", 1)]


def test_python_and_the_command_line_of_duckdb(published: Path) -> None:
    """The command line is of another version than the one that wrote the file."""
    assert asked(published, QUESTION) == EXPECTED
    rows = by_command_line(published, QUESTION)
    assert rows == [["" if day is None else str(day), vendor, str(n)] for day, vendor, n in EXPECTED] or rows == [
        ["NULL" if day is None else str(day), vendor, str(n)] for day, vendor, n in EXPECTED
    ]


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_the_catalog_is_always_called_addons(archive: Archive, destination: Destination) -> None:
    """DuckDB 1.5 names it after the file that a link leads to: tools keep `addons.main.transcripts` as a name."""
    for number in range(2):
        land_rows(archive, whole(number))
        publish(archive, destination, now=NOON, afresh=bool(number))
        path = archive.root / PUBLISHED
        named = "SELECT current_database() AS name, count(*) AS n FROM addons.main.add_on_results"
        assert asked(path, named) == [("addons", number + 1)]
        assert by_command_line(path, named) == [["addons", str(number + 1)]]


def test_pandas_polars_and_arrow(published: Path) -> None:
    """Data frames of each kind, words with their parts among them."""
    with duckdb.connect(str(published), read_only=True) as db:
        frame = db.sql(QUESTION).df()
        assert list(frame["transcripts"]) == [2, 2, 2, 1]
        assert db.sql(QUESTION).pl().rows() == EXPECTED
        words = db.sql("SELECT words FROM transcripts").to_arrow_table().schema.field("words").type
    assert [field.name for field in words.value_type][:3] == ["word", "start_seconds", "end_seconds"]


def test_adbc_reads_and_cannot_write(published: Path) -> None:
    """As tools connect: driver, entry point, options."""
    options = {"path": str(published), "access_mode": "read_only"}
    driver = adbc_driver_duckdb.driver_path()
    with (
        dbapi.connect(driver, entrypoint="duckdb_adbc_init", db_kwargs=options) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(QUESTION)
        assert cursor.fetch_arrow_table().to_pylist()[0] == {
            "completed_date": DAY,
            "vendor": "text",
            "transcripts": 2,
        }
        with pytest.raises(ProgrammingError, match="read-only"):
            cursor.execute("CREATE TABLE made_up (i INTEGER)")


# The Parquet files themselves


def live_files(root: Path, table: str) -> list[str]:
    """As docs/reading.md says it."""
    newest = max((root / "_commits").glob("[0-9]*.json"))
    return [str(root / path) for path in json.loads(newest.read_bytes())["tables"][table]]


def _of_day(files: list[str]) -> list[str]:
    return [path for path in files if f"completed_date={DAY}/" in path]


def test_duckdb_reads_one_days_files(landed: Path) -> None:
    """Over the live files, and through the views of the published file: one file scanned of all there are."""
    files = live_files(landed, "add_on_results")
    publish(open_archive(landed), "parquet", now=NOON)
    given = f"read_parquet({files}, hive_partitioning = true)"
    for relation, path in ((given, ":memory:"), ("add_on_results", str(landed / PUBLISHED))):
        with duckdb.connect(path, read_only=path != ":memory:") as db:
            day = f"SELECT sum(length(sid)) / 34 FROM {relation} WHERE completed_date = '{DAY}'"
            assert db.execute(day).fetchall() == [(2,)]
            plan = db.execute(f"EXPLAIN ANALYZE {day}").fetchall()[0][1]
        assert re.findall(r"Scanning Files: (\d+)/(\d+)", plan) == [("1", str(len(files)))], plan


def test_duckdb_reads_one_days_contents_for_a_transcript(landed: Path) -> None:
    """The day of a transcript is enough to leave the other days' contents alone."""
    publish(open_archive(landed), "parquet", now=NOON)
    with duckdb.connect(str(landed / PUBLISHED), read_only=True) as db:
        plan = db.execute(
            f"EXPLAIN ANALYZE SELECT text FROM transcripts WHERE completed_date = '{DAY}' AND payload_sid > 'XH'"
        ).fetchall()[0][1]
    contents = len(live_files(landed, "contents"))
    assert ("1", str(contents)) in re.findall(r"Scanning Files: (\d+)/(\d+)", plan), plan


def test_polars_reads_one_days_files(landed: Path) -> None:
    """Its plan names them."""
    files = live_files(landed, "add_on_results")
    lazy = pl.scan_parquet(files, hive_partitioning=True, hive_schema={"completed_date": pl.Date})
    day = lazy.filter(pl.col("completed_date") == DAY).select("sid")
    assert day.collect().height == 2
    assert re.findall(r"/[^\[\],]+\.parquet", day.explain()) == _of_day(files)
    assert lazy.select(pl.len()).collect().item() == 7
    assert lazy.filter(pl.col("completed_date").is_null()).select(pl.len()).collect().item() == 1


def test_arrow_reads_one_days_files(landed: Path) -> None:
    """Its fragments are them."""
    files = live_files(landed, "add_on_results")
    parts = ds.partitioning(pa.schema([("completed_date", pa.date32())]), flavor="hive")
    results = ds.dataset(files, partitioning=parts, format="parquet")
    day = ds.field("completed_date") == pa.scalar(DAY, pa.date32())
    assert [fragment.path for fragment in results.get_fragments(filter=day)] == _of_day(files)
    assert results.count_rows(filter=day) == 2
    assert results.count_rows() == 7
    assert isinstance(DAY, datetime.date)
