"""Nothing secret is left behind by what fails; files are private whatever the umask; the safe recipe is safe.

A sample of `make leaks`, and the controls that show that its search finds what is there.
"""

import base64
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from assets.discreet import discreet
from assets.undisclosed import undisclosed
from pipelines.errors import FixConfiguration, RepairWarehouse
from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import ROOT, CommandLine
from tests.assets.instances import instance_in
from tests.leaks import MARKER, Searched, hits, needles, paths

SAMPLE = ("ListRecordingAddOnResult: row of surrogates",)


def test_there_are_two_hundred_failure_paths() -> None:
    """As many as `make leaks` promises, each with a name of its own."""
    names = [path.name for path in paths()]
    assert len(names) >= 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_failure_leaves_nothing_secret_behind(name: str, tmp_path: Path, sandbox: Sandbox) -> None:
    """Neither in the output nor in Dagster's home, temporary files or the folder it ran in."""
    (path,) = (path for path in paths() if path.name == name)
    code, found = Searched(tmp_path, sandbox).run(path)
    assert code not in (0, 1)
    assert found == []


def test_the_search_finds_every_form_of_a_secret() -> None:
    """The control: plain, percent-encoded, base64 within other text, and the Basic header."""
    wanted = needles("correct-horse/battery+staple", "AC1")
    plain = "correct-horse/battery+staple"
    within = [base64.b64encode((before + plain + "yz").encode()).decode() for before in ("", "a", "ab")]
    forms = [plain, quote(plain, safe=""), *within]
    forms.append("Basic " + base64.b64encode(f"AC1:{plain}".encode()).decode())
    assert all(hits(f"x{form}x".encode(), wanted) for form in forms)
    assert not hits(b"nothing of it", wanted)


def _quoting(kind: str) -> NoReturn:
    """Fail as a library does, quoting content, plainly or behind an error of ours."""
    if kind == "plain":
        pa.array([MARKER]).cast(pa.int64())
    try:
        duckdb.execute(f"SELECT CAST('{MARKER}' AS INTEGER)").fetchall()
    except duckdb.Error as error:
        raise RepairWarehouse("A live file cannot be read.") from error
    raise AssertionError


def _ours() -> NoReturn:
    try:
        raise ValueError(MARKER)
    except ValueError as error:
        raise FixConfiguration("set it") from error


def _left_by(home: Path, fail: Any) -> set[str]:
    """What a failing run leaves in Dagster's home."""

    @dg.op
    def failing() -> None:
        fail()

    @dg.job
    def job() -> None:
        failing()

    with instance_in(home) as instance:
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    wanted = {MARKER.encode(): "content"}
    return {kind for file in home.rglob("*") if file.is_file() for kind in hits(file.read_bytes(), wanted)}


@pytest.mark.parametrize("kind", ["plain", "behind"])
def test_what_a_librarys_error_quotes_does_not_get_into_dagsters_history(kind: str, tmp_path: Path) -> None:
    """Neither its own text nor that of the error it hangs on; without `undisclosed`, the control, it does."""
    assert _left_by(tmp_path / "guarded", lambda: undisclosed()(_quoting)(kind)) == set()
    assert _left_by(tmp_path / "naive", lambda: _quoting(kind)) == {"content"}


def test_an_unexpected_error_is_shown_without_its_words() -> None:
    """Type and place of each error of the chain are; the sentences of our own stay."""
    with pytest.raises(RepairWarehouse) as caught:
        _quoting("behind")
    shown = discreet(caught.value)
    assert MARKER not in shown
    assert "ConversionException" in shown
    assert "A live file cannot be read." in shown
    assert "in _quoting" in shown


@pytest.fixture
def permissive() -> Iterator[None]:
    """A umask that hides nothing, for this process and those it starts."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_everything_written_is_private_whatever_the_umask(permissive: None, command: CommandLine) -> None:
    """The archive, Dagster's history, and a plan: no bit for anybody else."""
    assert command("export", DAGSTER_HOME=str(command.folder / "home")).returncode == 0
    done = command("delete", "plan", "--from", "2026-01-01", "--to", "2026-01-02", "--out", "plan.json")
    assert done.returncode == 0, done.stderr
    private = [*command.root.rglob("*"), *(command.folder / "home").rglob("*"), command.folder / "plan.json"]
    assert len(private) > 20
    open_ones = [path for path in private if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_ones == []
    (command.folder / "control").touch()
    assert stat.S_IMODE((command.folder / "control").stat().st_mode) == 0o666


@pytest.mark.parametrize(("variable", "code"), [("EXPORT_ROOT", 6), ("DAGSTER_HOME", 2)])
def test_a_folder_that_everybody_may_write_to_is_refused(variable: str, code: int, command: CommandLine) -> None:
    """Another user could put files there that are taken for ours."""
    folder = command.folder / "everybodys"
    folder.mkdir()
    folder.chmod(0o777)
    done = command("export", **{variable: str(folder)})
    assert done.returncode == code, done.stderr
    assert variable in done.stderr


REFUSED = (
    "COPY (SELECT 1) TO '{outside}/copied.csv'",
    "EXPORT DATABASE '{outside}/all'",
    "FROM read_text('/etc/passwd')",
    "FROM read_text('{root}/../../../../../../etc/passwd')",
    "FROM read_csv('http://127.0.0.1:1/x')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "ATTACH '{outside}/other.duckdb'",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET memory_limit = '64GB'",
    "DELETE FROM _commit",
)


def test_the_recipe_for_analysts_reads_and_does_nothing_else(command: CommandLine) -> None:
    """As printed in docs/analysts.md, for both destinations; a plain read-only connection, the control, reads files."""
    (recipe,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "analysts.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(recipe, "docs/analysts.md", "exec"), names)
    assert command("export").returncode == 0
    for destination in ("duckdb", "parquet"):
        assert command("rebuild", EXPORT_DESTINATION=destination).returncode == 0
        with names["open_warehouse"](str(command.root)) as con:
            assert con.execute("SELECT destination FROM _commit").fetchall() == [(destination,)]
            for view in ("transcripts", "retention", "contents", "recordings", "quarantine"):
                con.execute(f"SELECT * FROM {view}").fetchall()
            assert con.execute("SELECT count(*) FROM contents").fetchall() > [(0,)]
            for sql in REFUSED:
                with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException, duckdb.IOException)):
                    con.execute(sql.format(root=command.root, outside=command.folder)).fetchall()
            if destination == "duckdb":
                with pytest.raises(duckdb.PermissionException):
                    con.execute(f"COPY (SELECT 1) TO '{command.root}/copied.csv'")
    with duckdb.connect(str(command.root / "addons.duckdb"), read_only=True) as naive:
        assert naive.execute("SELECT count(*) FROM read_text('/etc/passwd')").fetchall() == [(1,)]


def test_our_own_errors_keep_their_sentence() -> None:
    """What the operator must do is in Dagster's history; what it hangs on is there without its words."""
    with pytest.raises(FixConfiguration, match="set it") as caught:
        undisclosed()(_ours)()
    assert MARKER not in str(caught.value.__cause__)
    assert "ValueError" in str(caught.value.__cause__)
