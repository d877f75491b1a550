"""An export with Dagster in its process and one without: the same rows, exit codes and sentences."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from assets.cli import direct, run
from assets.cli.asked import Asked, asked
from assets.cli.ending import exit_code
from assets.cli.export import _numbers
from pipelines.errors import ExportError
from pipelines.report import Progress
from pipelines.sandbox.exchange import Reply
from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import ROOT, CommandLine
from tests.warehouse.made_up import land_rows, logical, payload, recording
from warehouse.store.opening import open_archive

TODAY = datetime.now(UTC).date()

WAYS: tuple[Callable[[Asked], Progress], ...] = (direct.export_here, run.export_as_a_run)

CLOCKED = ("load_id", "observed_at", "first_seen_at", "listed_at", "exported_at", "fetched_at", "quarantined_at")
"""What differs from one export to the next by its nature; ids of quarantine are of what came when."""


def nothing_wrong(root: Path, sandbox: Sandbox) -> None:
    """All is well."""


def a_content_cannot_be_had(root: Path, sandbox: Sandbox) -> None:
    """Twilio says 404 to one of them."""
    broken = min(
        payload.sid
        for each in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
        for payload in each.payloads
        if each.state.date_completed and each.state.date_completed.date() > TODAY - timedelta(days=8)
    )
    sandbox.settings.intercept = lambda request: Reply(404, b"{}") if broken in request.sids else None


def the_credentials_are_refused(root: Path, sandbox: Sandbox) -> None:
    """Twilio lets nobody in."""
    sandbox.settings.intercept = lambda request: Reply(401, b"{}")


def the_root_does_not_hold_together(root: Path, sandbox: Sandbox) -> None:
    """A payload whose result is not landed, of a recording that counts as done."""
    mine = sandbox.account_sid
    land_rows(open_archive(root), [recording(900, account_sid=mine), payload(900, account_sid=mine)])


@pytest.fixture(autouse=True)
def undisturbed(sandbox: Sandbox) -> None:
    """A sandbox that answers everything."""
    sandbox.settings.intercept = None


@pytest.mark.parametrize(
    ("prepare", "first", "code"),
    [
        (nothing_wrong, None, 0),
        (nothing_wrong, TODAY - timedelta(days=10), 0),
        (a_content_cannot_be_had, TODAY - timedelta(days=9), 4),
        (the_credentials_are_refused, None, 2),
        (the_root_does_not_hold_together, None, 4),
    ],
)
def test_both_ways_land_the_same_and_say_the_same(
    prepare: Callable[[Path, Sandbox], None],
    first: date | None,
    code: int,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code, what is said, rows, and the numbers that stdout shows."""
    ends = []
    for number, way in enumerate(WAYS):
        root = tmp_path / str(number) / "data"
        for name, value in {**sandbox.environment, "EXPORT_ROOT": str(root)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / str(number) / "home"))
        prepare(root, sandbox)
        ended, said, numbers = 0, "", None
        try:
            numbers = _numbers(way(asked(first, None, full=False)))
        except ExportError as error:
            ended, said = int(exit_code(error)), str(error)
        talk = capsys.readouterr().err.replace(str(tmp_path / str(number)), "")
        said = re.sub("RQ[0-9a-f]+", "RQ", said)  # the id of a request
        ends.append((ended, said, talk, numbers, logical(open_archive(root), without=CLOCKED)))
    assert ends[0][0] == code, ends[0][1]
    for here, there in zip(*ends, strict=True):
        assert here == there


def test_an_export_imports_no_dagster_and_leaves_no_home(command: CommandLine) -> None:
    """Dagster takes longer to import and to take down than all else of a run that finds nothing new."""
    program = (
        "import sys; from assets.cli import main; code = main._run(['export'])\n"
        "sys.exit(code or [name for name in ('dagster', 'sqlalchemy', 'pydantic') if name in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=command.folder,
        env={**command.clean_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (command.folder / ".dagster_home").exists()
