"""The benchmark as a whole: its checker is not fooled, its figures are what they say, and a small run works."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from benchmarks import data
from benchmarks.bench import run_part
from benchmarks.caps import Caps
from benchmarks.check import Finding, check
from benchmarks.data import Settings
from benchmarks.outcome import Outcome
from benchmarks.running import ROOT, Measured, WayFailed, run
from benchmarks.scenarios import Part, Scenario
from benchmarks.ways import OURS, WAYS

ACCOUNT = Settings(30, results=(1, 0, 2), payloads=(1, 2), size=400, big=600_000, now=1_790_000_000)


@pytest.fixture
def landed() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in which the whole account has landed."""
    with duckdb.connect() as db:
        db.execute("CREATE TABLE recordings (sid VARCHAR)")
        db.execute("CREATE TABLE add_on_results (sid VARCHAR)")
        db.execute("CREATE TABLE add_on_payloads (sid VARCHAR)")
        db.execute("CREATE TABLE contents (payload_sid VARCHAR, content BLOB)")
        for number in ACCOUNT.all_recordings():
            db.execute("INSERT INTO recordings VALUES (?)", [data.recording_sid(number)])
        for number, result in ACCOUNT.all_results():
            db.execute("INSERT INTO add_on_results VALUES (?)", [data.result_sid(number, result)])
        for numbers in ACCOUNT.all_payloads():
            sid = data.payload_sid(*numbers)
            db.execute("INSERT INTO add_on_payloads VALUES (?)", [sid])
            db.execute("INSERT INTO contents VALUES (?, ?)", [sid, b"".join(ACCOUNT.content(*numbers))])
        yield db


def test_the_checker_accepts_the_whole_account(landed: duckdb.DuckDBPyConnection) -> None:
    """Every row there once, every content equal."""
    found = check(ACCOUNT, landed, OURS.queries)
    assert found.whole
    assert found.landed == found.expected > 30
    assert found.equal == found.contents == len(list(ACCOUNT.all_payloads()))


@pytest.mark.parametrize("table", ["recordings", "add_on_results", "add_on_payloads", "contents"])
def test_the_checker_notices_a_missing_row(landed: duckdb.DuckDBPyConnection, table: str) -> None:
    """In whichever table."""
    landed.execute(f"DELETE FROM {table} WHERE rowid = 3")
    found = check(ACCOUNT, landed, OURS.queries)
    assert (found.missing, found.extra, found.whole) == (1, 0, False)


@pytest.mark.parametrize("table", ["recordings", "add_on_results", "add_on_payloads", "contents"])
def test_the_checker_notices_a_repeated_row(landed: duckdb.DuckDBPyConnection, table: str) -> None:
    """In whichever table."""
    landed.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = 3")
    found = check(ACCOUNT, landed, OURS.queries)
    assert (found.missing, found.extra, found.whole) == (0, 1, False)


def test_the_checker_notices_a_row_of_nobody_in_the_place_of_another(landed: duckdb.DuckDBPyConnection) -> None:
    """The number of rows alone would not tell."""
    landed.execute("UPDATE add_on_results SET sid = 'XR' WHERE rowid = 3")
    found = check(ACCOUNT, landed, OURS.queries)
    assert (found.missing, found.extra, found.landed) == (1, 1, found.expected)


@pytest.mark.parametrize("change", ["content || '\\x20'::BLOB", "content[:-2]", "'\\x00'::BLOB || content[2:]"])
def test_the_checker_notices_a_changed_content(landed: duckdb.DuckDBPyConnection, change: str) -> None:
    """One byte more, one less, one other: of the big one, too."""
    for where in ("rowid = 3", "octet_length(content) > 500000"):
        landed.execute("BEGIN")
        landed.execute(f"UPDATE contents SET content = {change} WHERE {where}")
        found = check(ACCOUNT, landed, OURS.queries)
        landed.execute("ROLLBACK")
        assert (found.contents - found.equal, found.whole) == (1, False)


def test_the_checker_notices_contents_that_changed_places(landed: duckdb.DuckDBPyConnection) -> None:
    """Each is somebody's, but not its payload's."""
    landed.execute("UPDATE contents SET content = (SELECT content FROM contents WHERE rowid = 3) WHERE rowid = 4")
    assert not check(ACCOUNT, landed, OURS.queries).whole


def outcome(*, served: int, caps: Caps, seconds: float) -> Outcome:
    """A run that began at 100 s, sent its first request at 102 s and ended a second after the last reply."""
    last = 102 + seconds
    return Outcome(
        scenario="",
        way="",
        run="",
        recordings=0,
        caps=caps,
        latency=0.1,
        measured=Measured(100.0, last + 1, 8.0, 0, 0, samples=((100.0, 0.0), (101.0, 1.0), (103.0, 3.0))),
        stats={"served": served, "requests": served, "refused": 0, "first_at": 102.0, "last_at": last},
        finding=Finding(0, 0, 0, 0, 0, 0, 0),
    )


def test_a_client_that_always_fills_the_cap_reaches_the_whole_theoretical_rate() -> None:
    """Also when the cap moves; whatever the command does after the last reply counts against the command."""
    steady = outcome(served=5000, caps=Caps(((100, 0.0),)), seconds=5.0)
    assert steady.share == pytest.approx(1.0)
    assert steady.command_share == pytest.approx(5 / 6)
    moving = outcome(served=7000, caps=Caps.parse("100:0,40:5"), seconds=10.0)
    assert moving.share == pytest.approx(1.0)
    assert outcome(served=7000, caps=Caps(), seconds=10.0).share is None


def test_start_up_is_what_was_used_before_the_first_request() -> None:
    """Seconds and CPU, the latter interpolated between samples."""
    run = outcome(served=5000, caps=Caps(), seconds=5.0)
    assert run.startup == 2.0
    assert run.cpu == pytest.approx(8.0 - 2.0)


def test_a_process_is_measured_with_its_children(tmp_path: Path) -> None:
    """CPU burnt by a child that is waited for counts; what fails is said with its output."""
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    measured = run([sys.executable, "-c", parent], {}, folder=tmp_path)
    assert measured.cpu > 0.5
    assert measured.peak > 1_000_000
    with pytest.raises(WayFailed, match="ended with 3: so it is"):
        run([sys.executable, "-c", "import sys; print('so it is'); sys.exit(3)"], {}, folder=tmp_path)


def test_twilios_own_package_lands_the_whole_account_from_the_server(tmp_path: Path) -> None:
    """Server, a peer and the checker agree; the figures are those of the account."""
    peer = next(way for way in WAYS if way.name == "twilio")
    here = replace(peer, command=(sys.executable, *peer.command[1:]))
    found = run_part(Scenario("test", "", ()), here, Part(ACCOUNT), tmp_path)
    assert found.finding.whole
    results, payloads = len(list(ACCOUNT.all_results())), len(list(ACCOUNT.all_payloads()))
    assert found.requests == 1 + 30 + results + payloads
    assert found.stats["kinds"]["content"]["count"] == payloads
    assert found.finding.results == results


def test_the_quick_run_prints_a_table_in_which_the_product_has_landed_everything(tmp_path: Path) -> None:
    """`python -m benchmarks.bench --quick` runs the product's own command."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--quick", "--json", tmp_path / "figures.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("| addon-export"))
    assert row.endswith("| 300 of 300 | yes |")
    (figures,) = json.loads((tmp_path / "figures.json").read_text())
    assert figures["contents_equal"] == figures["contents_expected"] == 90
    assert 0 < figures["cpu_seconds_after_startup"] < figures["cpu_seconds"]
