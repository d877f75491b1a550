"""Nothing secret is left behind by what fails; files are private whatever the umask; the safe recipe is safe.

A sample of `make trial NAME=leaks`, and the controls that show that its search finds what is there.
"""

import base64
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest

from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import ROOT, CommandLine
from tests.trials.leaks import Searched, hits, needles, paths

SAMPLE = ("ListRecordingAddOnResult: row of surrogates",)


def test_there_are_two_hundred_failure_paths() -> None:
    """As many as `make trial NAME=leaks` promises, each with a name of its own."""
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


@pytest.fixture
def permissive() -> Iterator[None]:
    """A umask that hides nothing, for this process and those it starts."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_is_written_is_private_whatever_the_umask_and_holds_no_secret(
    permissive: None, command: CommandLine, sandbox: Sandbox
) -> None:
    """The archive, Dagster's history, and a plan: no bit for anybody else, no token and no signed URL."""
    exported = command("export", DAGSTER_HOME=str(command.folder / "home"))
    assert exported.returncode == 0
    key = {"TWILIO_DELETE_API_KEY": f"SK{'0' * 32}", "TWILIO_DELETE_API_SECRET": "made-up-to-delete"}
    done = command("delete", "plan", "--from", "2026-01-01", "--to", "2026-01-02", "--out", "plan.json", **key)
    assert done.returncode == 0, done.stderr
    private = [*command.root.rglob("*"), *(command.folder / "home").rglob("*"), command.folder / "plan.json"]
    assert len(private) > 20
    open_ones = [path for path in private if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_ones == []
    tokens = (command.environment["TWILIO_AUTH_TOKEN"], "made-up-to-delete")
    secrets = [*(token.encode() for token in tokens), b"Signature=", sandbox.storage_url.encode()]
    said = "".join([exported.stdout, exported.stderr, done.stdout, done.stderr]).encode()
    written = [path.read_bytes() for path in command.folder.rglob("*") if path.is_file()]
    assert not any(secret in text for secret in secrets for text in (said, *written))
    (command.folder / "control").touch()
    assert stat.S_IMODE((command.folder / "control").stat().st_mode) == 0o666


def test_a_run_of_dagsters_own_commands_is_private_whatever_the_umask(permissive: None, command: CommandLine) -> None:
    """The archive as ever; into DAGSTER_HOME, whatever Dagster made there before it loaded us, nobody else gets."""
    home = command.folder / "home"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    (home / "history").mkdir()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home, home / "history")} == {0o777}
    today = datetime.now(UTC).date()
    select = ("--select", "add_on_results,add_on_payloads", "--partition-range", f"{today}...{today}")
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "assets.definitions", *select],
        cwd=command.folder,
        env=command.clean_environment(DAGSTER_HOME=str(home)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    written = list(command.root.rglob("*"))
    assert len(written) > 5
    assert [path for path in written if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    of_the_run = [path for path in home.rglob("*") if path.suffix in (".out", ".err") or len(path.stem) == 36]
    assert len(of_the_run) > 3
    assert [path for path in of_the_run if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@pytest.mark.parametrize(("variable", "program"), [("EXPORT_ROOT", "export"), ("DAGSTER_HOME", "demo")])
def test_a_folder_that_everybody_may_write_to_is_refused(variable: str, program: str, command: CommandLine) -> None:
    """Another user could put files there that are taken for ours."""
    folder = command.folder / "everybodys"
    folder.mkdir()
    folder.chmod(0o777)
    done = command(program, **{variable: str(folder)})
    assert done.returncode == 2, done.stderr
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


def test_the_recipe_for_analysts_reads_and_does_nothing_else(exported: CommandLine) -> None:
    """As printed in docs/reading.md, for both destinations; a plain read-only connection, the control, reads files."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reading.md").read_text(), re.DOTALL)
    (recipe,) = (block for block in blocks if "def open_warehouse" in block)
    names: dict[str, Any] = {}
    exec(compile(recipe, "docs/reading.md", "exec"), names)
    for destination in ("duckdb", "parquet"):
        assert exported("rebuild", EXPORT_DESTINATION=destination).returncode == 0
        with names["open_warehouse"](str(exported.root)) as con:
            assert con.execute("SELECT destination FROM _commit").fetchall() == [(destination,)]
            for view in ("transcripts", "retention", "contents", "recordings", "quarantine"):
                con.execute(f"SELECT * FROM {view}").fetchall()
            assert con.execute("SELECT count(*) FROM contents").fetchall() > [(0,)]
            for sql in REFUSED:
                with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException, duckdb.IOException)):
                    con.execute(sql.format(root=exported.root, outside=exported.folder)).fetchall()
            if destination == "duckdb":
                with pytest.raises(duckdb.PermissionException):
                    con.execute(f"COPY (SELECT 1) TO '{exported.root}/copied.csv'")
    with duckdb.connect(str(exported.root / "addons.duckdb"), read_only=True) as naive:
        assert naive.execute("SELECT count(*) FROM read_text('/etc/passwd')").fetchall() == [(1,)]
