"""EXPORT_ROOT as a user meets it: a folder in use, an archive of a newer version, and where the demo goes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE

import pytest

from assets.cli import demo
from pipelines.errors import FixConfiguration
from tests.assets.conftest import CommandLine
from tests.warehouse.made_up import NOON, land_rows, sid, whole
from tests.warehouse.store.test_newer import needs, tree, write_commit
from warehouse.published.publish import publish
from warehouse.store.marker import update_marker
from warehouse.store.opening import open_archive
from warehouse.store.stamp import FORMAT


def test_an_archive_of_a_newer_version_is_read_and_by_no_command_written(command: CommandLine) -> None:
    """Exit code 6, one sentence with both versions, and not a byte or a time stamp is another."""
    archive = open_archive(command.root)
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    write_commit(command.root, needs(FORMAT, FORMAT + 1))
    before = tree(command.root)
    for arguments in (
        ("export",),
        ("erase", "--recording", sid("RE", 1)),
        ("erase", "--recording", sid("RE", 1), "--dry-run"),
        ("compact",),
        ("rebuild",),
        ("rebuild", "--archive"),
        ("quarantine", "retry"),
    ):
        done = command(*arguments)
        assert done.returncode == 6, (arguments, done.stderr)
        assert done.stderr.count("was written by addon-export 7.1.2 in format") == 1, (arguments, done.stderr)
        assert tree(command.root) == before, arguments
    for reading in (("verify",), ("status",), ("sql", "SELECT count(*) FROM contents")):
        done = command(*reading)
        assert done.returncode == 0, (reading, done.stderr)
        assert tree(command.root) == before, reading


def test_a_folder_in_use_is_refused_and_stays_as_it_is(command: CommandLine) -> None:
    """Exit code 2 before Twilio is asked for anything, and the sentence names a file."""
    (command.root / "recordings").mkdir(parents=True)
    (command.root / "recordings" / "call.wav").write_bytes(b"audio")
    before = tree(command.root)
    for arguments in (("export",), ("compact",), ("rebuild",), ("erase", "--recording", sid("RE", 1))):
        done = command(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "recorded there" not in done.stderr, "no wish is recorded in a folder that is refused"
        assert "recordings/call.wav" in done.stderr
        assert tree(command.root) == before


def test_verify_names_files_of_others_and_is_green(exported: CommandLine) -> None:
    """They are no mismatch."""
    (exported.root / "contents" / "my notes.txt").write_text("mine")
    found = exported("verify", "--json")
    assert (found.returncode, json.loads(found.stdout)["strangers"]) == (0, ["contents/my notes.txt"])
    assert "contents/my notes.txt" in exported("verify").stderr


def archive_in(folder: Path, **settings: object) -> Path:
    """An archive that holds something."""
    archive = open_archive(folder)
    land_rows(archive, whole(1))
    for name, value in settings.items():
        update_marker(archive, lambda marker, name=name, value=value: marker.with_setting(name, value))  # type: ignore[misc]  # defaults
    return folder


def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: Mapping[str, object] | None = None) -> Path:
    """Where a demo that is run in `tmp_path` would go."""
    monkeypatch.chdir(tmp_path)
    return demo._folder(list(accounts or ()))


def test_the_demo_goes_where_nothing_is_or_a_demo_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To EXPORT_ROOT if that is so, else to its own folder; an archive of an account is never its place."""
    assert where(tmp_path, monkeypatch) == Path("demo-data")
    monkeypatch.setenv("EXPORT_ROOT", str(tmp_path / "new"))
    assert where(tmp_path, monkeypatch) == tmp_path / "new"
    (tmp_path / "new").mkdir()
    assert where(tmp_path, monkeypatch) == tmp_path / "new"
    archive_in(tmp_path / "new", demo=True)
    assert where(tmp_path, monkeypatch) == tmp_path / "new"
    monkeypatch.setenv("EXPORT_ROOT", str(archive_in(tmp_path / "real")))
    assert where(tmp_path, monkeypatch) == Path("demo-data")
    assert "stays as it is" in capsys.readouterr().err
    archive_in(tmp_path / "demo-data")
    with pytest.raises(FixConfiguration, match="not the demo's"):
        where(tmp_path, monkeypatch)


def test_the_demo_of_an_earlier_version_is_known_by_its_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no marker; an archive of other accounts is none."""
    (archive_in(tmp_path / "demo-data") / "_archive.json").unlink()
    assert where(tmp_path, monkeypatch, {sid("AC", 0): None}) == Path("demo-data")
    with pytest.raises(FixConfiguration):
        where(tmp_path, monkeypatch, {sid("AC", 1): None})


def test_a_demo_begins_anew_and_leaves_what_others_put_into_its_folder(tmp_path: Path) -> None:
    """Nothing of the demo before is left, and the next one is not refused for the sake of others' files."""
    root = archive_in(tmp_path / "demo-data")
    (root / "recordings" / "call.wav").write_bytes(b"audio")
    for _ in range(2):
        demo._begin_anew(root)
        left = {path.name for path in root.rglob("*") if path.is_file()}
        assert left == {"call.wav", "_archive.json", ".archive.lock"}
        archive = open_archive(root)
        assert archive.head().number == 0
        land_rows(archive, whole(2))
    assert (root / "recordings" / "call.wav").read_bytes() == b"audio"


@pytest.mark.parametrize("name", ["EXPORT_ROOT", "DAGSTER_HOME"])
def test_the_home_of_somebody_who_is_not_there_is_said(command: CommandLine, name: str) -> None:
    """Exit code 2 and one sentence, whichever path it is, and nothing is made."""
    done = command("export", **{name: "~nobody-here/x"})
    assert done.returncode == 2, done.stderr
    assert f"{name} is '~nobody-here/x', and there is no such home" in done.stderr.splitlines()[-1]
    assert not (command.folder / "~nobody-here").exists()


def test_what_cannot_be_published_is_landed(command: CommandLine) -> None:
    """Docker has made a folder for a file that was to be mounted: exit code 6 at the end, and everything is here."""
    (command.root / "addons.duckdb").mkdir(parents=True)
    done = command("export")
    assert done.returncode == 6, done.stderr
    assert "addons.duckdb is a folder" in (sentence := done.stderr.splitlines()[-1])
    assert sentence.endswith("What was exported is landed.")
    states = json.loads(command("status", "--json").stdout)["results"]
    assert (states["exported"] > 0, states["pending"], states["lost"]) == (True, 0, 0)
    (command.root / "addons.duckdb").rmdir()
    assert command("rebuild").returncode == 0
    verified = command("verify")
    assert (verified.returncode, " no mismatches" in verified.stdout) == (0, True), verified.stdout


def test_a_published_file_that_another_program_may_write_to_is_said_and_published_anew(exported: CommandLine) -> None:
    """DuckDB lets nobody in beside it; what it writes there is shown to nobody."""
    published = exported.root / "addons.duckdb"
    published.resolve().chmod(0o600)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(published)], stdin=PIPE, stdout=PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == "open\n"
        for arguments, code in ((("sql", "SELECT 1"), 6), (("verify",), 4), (("status",), 0)):
            done = exported(*arguments)
            assert done.returncode == code, (arguments, done.stderr)
            said = "nothing that can be opened" if code == 0 else "is open in another program that may write to it"
            assert said in done.stdout + done.stderr, arguments
        assert exported("export", "--full").returncode == 0
        assert exported("verify").returncode == 0
        viewer.communicate("\n")
    assert exported("sql", "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'mine'").stdout.split()[-1] == "0"


WRITER = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as db:
    print("open", flush=True)
    sys.stdin.read()
    db.execute("CREATE TABLE mine AS SELECT 1 AS a")
"""
