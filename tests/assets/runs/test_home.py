"""DAGSTER_HOME: its configuration is whole or not there, and what makes it unusable is one sentence, not a defect."""

import errno
import fcntl
import shlex
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from assets.runs.alive import alive, gone, held
from assets.runs.home import dagster_home, home_errors, home_refusal, make_private
from assets.runs.instance import check_launching, opened
from assets.runs.pool import POOL
from assets.runs.undisclosed import undisclosed
from pipelines.errors import FixConfiguration
from tests.assets.conftest import ROOT, CommandLine
from tests.assets.instances import instance_in
from warehouse.errors import Untrusted
from warehouse.store.opening import open_archive


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is DAGSTER_HOME, and not there yet."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def root_beside(home: Path) -> Path:
    """An archive whose history `home` is to hold."""
    return open_archive(home.with_name("data")).root


def test_an_empty_configuration_is_written_again_and_another_one_stays(home: Path) -> None:
    """What a crash of an older version has left; without it telemetry is on and nothing limits runs."""
    home.mkdir()
    configuration = home / "dagster.yaml"
    configuration.touch()
    assert dagster_home(root_beside(home)) == home
    assert configuration.read_bytes() == (ROOT / "dagster.yaml").read_bytes()
    assert configuration.stat().st_mode & 0o777 == 0o600
    configuration.write_text("telemetry: {enabled: true}\n")
    dagster_home(root_beside(home))
    assert configuration.read_text() == "telemetry: {enabled: true}\n"
    assert sorted(path.name for path in home.iterdir()) == [".whose.lock", "archive.json", "dagster.yaml"]


def test_a_home_that_others_can_exchange_is_refused(home: Path) -> None:
    """Dagster reads its `dagster.yaml`, which names classes, after we have looked at it."""
    root = root_beside(home)
    dagster_home(root)
    home.parent.chmod(0o777)
    with pytest.raises(Untrusted, match=f"DAGSTER_HOME {home} is in {home.parent}, which may be written to"):
        dagster_home(root)


def test_no_part_of_a_configuration_is_left_where_there_is_no_room_for_it(home: Path) -> None:
    """The next one finds none, and writes all of it."""
    command = shlex.join(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; from assets.runs.home import dagster_home; dagster_home(Path('data'))",
        ]
    )
    full_disk = ["bash", "-c", f"ulimit -f 0 && exec {command}"]
    failed = subprocess.run(full_disk, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"FixConfiguration: DAGSTER_HOME {home} cannot be used" in failed.stderr
    assert not (home / "dagster.yaml").exists()


def full(path: Path) -> None:
    """No page more may be added."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA max_page_count = 2")
        db.execute("INSERT INTO t VALUES (zeroblob(100000))")


def read_only(path: Path) -> None:
    """Opened so that it cannot be written."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("DELETE FROM t")


def locked(path: Path) -> None:
    """Somebody else is writing."""
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(path, timeout=0)) as db:
        other.execute("BEGIN EXCLUSIVE")
        db.execute("DELETE FROM t")


def nowhere(path: Path) -> None:
    """The folder is not there."""
    sqlite3.connect(path.parent / "no" / "such.db").close()


def damaged(path: Path) -> None:
    """It is no database."""
    path.write_bytes(b"damaged" * 1000)
    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT * FROM t")


@pytest.mark.parametrize(
    ("fail", "reason", "remedy"),
    [
        (full, "its disk is full", "free some space"),
        (read_only, "read-only", "may write to"),
        (locked, "locked", "run again"),
        (nowhere, "cannot be opened", "may write to"),
        (damaged, "damaged", "move the folder away"),
    ],
)
def test_what_sqlite_refuses_is_said_with_what_to_do(
    fail: Callable[[Path], None], reason: str, remedy: str, home: Path, tmp_path: Path
) -> None:
    """Whatever it is wrapped in, and inside an asset too, where nothing of what it hangs on may be kept."""
    path = tmp_path / "canary.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(sqlite3.DatabaseError) as raised:
        fail(path)
    wrapped = sa.exc.OperationalError("INSERT INTO t", ("canary",), raised.value)
    beneath = ValueError()
    beneath.__context__ = wrapped
    for error in (raised.value, wrapped, beneath, ExceptionGroup("", [beneath])):
        said = home_refusal(error)
        assert said is not None
        assert f"DAGSTER_HOME {home} cannot be used: " in str(said)
        assert reason in str(said)
        assert remedy in str(said)
        assert "canary" not in str(said)
    with pytest.raises(FixConfiguration, match=reason) as kept, undisclosed():
        raise wrapped
    assert (kept.value.__cause__, kept.value.__suppress_context__) == (None, True)


def test_only_what_concerns_dagster_home_is_said_of_it(home: Path, tmp_path: Path) -> None:
    """The system's refusals of files in it; neither those of other files nor a defect in SQL."""
    for path, ours in ((home / "alive" / "x", True), (tmp_path / "data" / "x", False), (None, False)):
        said = home_refusal(OSError(errno.ENOSPC, "No space left on device", path and str(path)))
        assert (said is not None) == ours
    with closing(sqlite3.connect(":memory:")) as db, pytest.raises(sqlite3.OperationalError) as raised:
        db.execute("SELEC 1")
    assert home_refusal(raised.value) is None


@pytest.mark.parametrize(
    ("configuration", "place"),
    [
        ("nonsense: 1\n", "at nonsense"),
        ("telemetry:\n\tenabled: false\n", "line 2 is not YAML"),
        ("telemetry: {enabled: s3cret}\n", "at telemetry:enabled"),
        ("storage: {postgres: {postgres_db: {password: s3cret, hostnam: q}}}\n", "postgres_db:hostnam"),
        ("storage: {sqlite: {base_dir: {env: NOT_SET_ANYWHERE}}}\n", "at base_dir"),
        ("event_log_storage: {module: not_installed, class: X}\n", "no module not_installed"),
        ("run_coordinator: {module: not_installed, class: X}\n", "no module not_installed"),
        ("storage: {custom: {module: dagster, class: Nope, config: {a: 1}}}\n", "CheckError"),
        ("- a\n", "CheckError"),
        ("# caf\xe9\n", "UnicodeDecodeError"),
    ],
)
def test_a_configuration_that_dagster_refuses_is_said_with_its_place(
    configuration: str, place: str, home: Path
) -> None:
    """Whatever is wrong with it, the sentence names the file and the place, and never a value."""
    home.mkdir()
    (home / "dagster.yaml").write_text(configuration, encoding="latin-1")
    with pytest.raises(FixConfiguration) as raised, home_errors(), opened(dagster_home(root_beside(home))):
        pass
    assert f"Dagster refuses {home / 'dagster.yaml'} (" in str(raised.value)
    assert place in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_what_starts_runs_is_asked_for_by_the_ui_alone(home: Path) -> None:
    """An export of the command line needs no launcher, and goes on."""
    home.mkdir()
    (home / "dagster.yaml").write_text("run_launcher: {module: not_installed, class: X}\n")
    with (
        opened(dagster_home(root_beside(home))) as instance,
        pytest.raises(FixConfiguration, match=r"dagster.yaml \(no module not_installed\)"),
    ):
        check_launching(instance, home)


def test_a_history_of_an_older_dagster_is_brought_up_to_date_after_a_copy(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.8's lacks a column that `dagster instance migrate` does not add; what is in it stays."""
    with instance_in(home) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("theirs"))
    index = home / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(index)) as db:
        db.execute("ALTER TABLE concurrency_limits DROP COLUMN using_default_limit")
        db.execute("DROP TABLE pending_steps")
    for times in (1, 0):
        with home_errors(), opened(dagster_home(root_beside(home))) as instance:
            assert instance.event_log_storage.get_concurrency_info(POOL).claimed_slots == []
            assert instance.all_asset_keys() == [dg.AssetKey("theirs")]
        assert capsys.readouterr().err.count("is brought up to date") == times
    (copies,) = home.glob("before-dagster-*")
    with closing(sqlite3.connect(copies / "index.db")) as db:
        assert db.execute("SELECT count(*) FROM asset_keys").fetchall() == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            db.execute("SELECT * FROM pending_steps")


def test_a_history_that_cannot_be_brought_up_to_date_is_said_with_what_to_do(home: Path) -> None:
    """When it is opened or when it is written to."""
    instance_in(home).dispose()
    with closing(sqlite3.connect(home / "history" / "runs.db")) as db:
        db.execute("DROP TABLE runs")
        db.execute("CREATE VIEW runs AS SELECT 1 AS id")
    with (
        pytest.raises(FixConfiguration, match="dagster instance migrate"),
        home_errors(),
        opened(dagster_home(root_beside(home))),
    ):
        pass
    with (
        closing(sqlite3.connect(home / "history" / "runs.db")) as db,
        pytest.raises(FixConfiguration, match="dagster instance migrate"),
        home_errors(),
    ):
        db.execute("SELECT run_body FROM runs")


@pytest.mark.parametrize("name", ["what?", "100%25", "%e9t\xe9?x=1"])
def test_a_path_in_which_dagster_opens_no_history_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would open another file, or none."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name))
    with pytest.raises(FixConfiguration, match=r"in a path with `.+` in it; set it to another folder"):
        dagster_home(tmp_path)
    assert not (tmp_path / name).exists()


def test_a_history_in_a_folder_with_other_signs_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is below that folder."""
    home = tmp_path / "a %b#c;d&e=f@g:h'i\"j\\k \xe9"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with opened(dagster_home(tmp_path)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("a"))
    assert (home / "history" / "runs" / "index.db").exists()


def test_a_file_system_without_locks_is_said_of_the_history_and_no_matter_for_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite needs locks of its own kind; those of ours are then held elsewhere."""

    def no_locks(handle: int, flags: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(home):
            raise OSError(errno.ENOLCK, "No locks available")
        flock(handle, flags)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with opened(dagster_home(root_beside(home))) as instance:
        with alive(instance, run_id := str(uuid.uuid4())):
            assert held(instance, run_id)
        assert gone(instance, run_id)
    for code in (sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_PROTOCOL):
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = code
        assert "has no locks that work; set DAGSTER_HOME to a folder on a disk" in str(home_refusal(error))


def test_a_run_whose_history_cannot_be_written_says_so_in_one_sentence(command: CommandLine) -> None:
    """Exit code 2; with room again the next neither waits nor fails, and nothing of the one before is left."""
    home = command.folder / ".dagster_home" / "archives" / "1"
    failed = command.without_space(96, "demo")
    assert failed.returncode == 2, failed.stderr
    said = f"DAGSTER_HOME {home} cannot be used: a file would grow beyond the limit"
    assert said in failed.stderr.strip().splitlines()[-1]
    assert "What was landed stays." in failed.stderr
    assert len(failed.stderr.strip().splitlines()) <= 3, failed.stderr
    done = command("demo")
    assert (done.returncode, "waiting" in done.stderr) == (0, False), done.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert all(run.is_finished for run in instance.get_runs())
        assert instance.event_log_storage.get_concurrency_info(POOL).claimed_slots == []
    assert list((home / "alive").iterdir()) == []


def test_a_damaged_history_is_said_in_one_sentence_and_stops_no_export(command: CommandLine) -> None:
    """What to do; everything is landed all the same, for the history is no part of what is exported."""
    home = command.folder / ".dagster_home"
    instance_in(home).dispose()
    for path in home.rglob("*.db"):
        path.write_bytes(b"damaged" * 1000)
    done = command("export")
    assert done.returncode == 0, done.stderr
    assert "move the folder away" in done.stderr.strip().splitlines()[-1]
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr


def test_only_its_owner_is_let_into_an_existing_home(home: Path) -> None:
    """Its own bits stay; a folder that is not there is nobody's."""
    home.mkdir()
    home.chmod(0o755)
    dagster_home(root_beside(home))
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o570)
    make_private(home)
    assert home.stat().st_mode & 0o777 == 0o500
    make_private(home / "no")
    assert not (home / "no").exists()
