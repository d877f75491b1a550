"""One process at a time asks Twilio for a root: exports take turns, waiting can be ended, and a kill leaves nothing."""

import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.asking import op_config, partition_tags
from assets.runs.turn import BUSY, Patience, turn
from pipelines.errors import RunLater
from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import CommandLine
from tests.assets.instances import exporting, instance_in
from warehouse.store.opening import open_archive
from warehouse.store.strangers import strangers


def until(holds: Callable[[], object]) -> None:
    """Wait for something, and fail when it does not come."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def never(reason: object) -> None:
    """Who has to wait, fails."""
    raise AssertionError(reason)


class Enough(Exception):
    """Waited long enough."""


def test_of_exports_that_do_the_same_only_one_waits(tmp_path: Path) -> None:
    """A crontab's next line leaves at once, as one that is not to wait does; another kind waits beside it."""
    archive = open_archive(tmp_path)
    left: list[str] = []
    said: list[str] = []

    def stop(seconds: float) -> None:
        raise Enough("waits too")

    def try_others(seconds: float) -> None:
        for patience in (Patience(kind="everything"), Patience(waits=False), Patience(kind="full"), Patience()):
            with (
                pytest.raises((RunLater, Enough)) as raised,
                turn(archive, waits=said.append, sleep=stop, patience=patience),
            ):
                never("somebody has the turn")
            left.append(str(raised.value))
        raise Enough

    with (
        turn(archive, waits=never, sleep=stop),
        pytest.raises(Enough),
        turn(archive, waits=said.append, sleep=try_others, patience=Patience(kind="everything")),
    ):
        never("somebody has the turn")
    assert "waits for it already" in left[0]
    assert "--no-wait" in left[1]
    assert left[2:] == ["waits too", "waits too"]
    assert said == [f"{BUSY}; waiting until it is done. Ctrl-C stops waiting."] * 3
    with turn(archive, waits=never, sleep=stop), turn(open_archive(tmp_path / "other"), waits=never, sleep=stop):
        pass  # another root is another account's, or at least another archive's


def test_the_lock_is_a_private_file_of_ours(tmp_path: Path) -> None:
    """No archive takes it for a stranger's."""
    archive = open_archive(tmp_path / "data")
    with turn(archive, waits=never, sleep=never):
        assert (archive.root / ".turn.lock").stat().st_mode & 0o777 == 0o600
    assert strangers(archive.root) == []


def test_two_exports_of_overlapping_days_take_turns_and_both_end_well(command: CommandLine, sandbox: Sandbox) -> None:
    """One says that it waits and begins when the other has ended; nothing is landed twice."""
    today = datetime.now(UTC).date()
    sandbox.settings.latency = 0.05
    try:
        ranges = ((30, 3), (20, 0))
        both = [
            command.start("export", "--from", f"{today - timedelta(days=a)}", "--to", f"{today - timedelta(days=b)}")
            for a, b in ranges
        ]
        ends = [process.communicate(timeout=120) for process in both]
    finally:
        sandbox.settings.latency = 0.0
    assert [process.returncode for process in both] == [0, 0], ends
    assert sum("waiting until it is done" in talk for _, talk in ends) == 1
    assert command("verify").returncode == 0
    assert command.rows("SELECT count(*) - count(DISTINCT sid) FROM add_on_results") == [(0,)]
    loads = command.rows("SELECT run_id, min(loaded_at), max(loaded_at) FROM loads GROUP BY run_id ORDER BY 2")
    assert len(loads) == 2
    assert loads[0][2] <= loads[1][1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_another_export_can_be_ended(
    number: signal.Signals, command: CommandLine, sandbox: Sandbox
) -> None:
    """At once, with exit code 130: not one request was sent, and whoever has the turn keeps it."""
    archive = open_archive(command.root)
    with turn(archive, waits=never, sleep=never):
        process = command.start("export")
        assert process.stderr is not None
        while "waiting until it is done" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 130
        with pytest.raises(RunLater), turn(archive, waits=never, sleep=never, patience=Patience(waits=False)):
            never("somebody has the turn")
        left = command("export", "--no-wait")
        assert (left.returncode, BUSY in left.stderr) == (5, True), left.stderr
    assert sandbox.journal.entries == ()


def test_an_export_does_not_wait_for_one_that_was_killed(command: CommandLine, sandbox: Sandbox) -> None:
    """A kill -9 takes its lock with it, and the next goes on from what it landed."""
    sandbox.settings.latency = 0.05
    try:
        process = command.start("export")
        until(lambda: sandbox.journal.count("Content") >= 10)
        process.kill()
        process.communicate(timeout=60)
    finally:
        sandbox.settings.latency = 0.0
    done = command("export")
    assert (done.returncode, "waiting" in done.stderr) == (0, False), done.stderr
    assert json.loads(done.stdout)["results_landed"] > 0


def test_a_run_in_dagster_waits_for_an_export_without_it(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so among its events, asks nothing meanwhile, and goes on when the turn is free."""
    for name, value in {**sandbox.environment, "EXPORT_ROOT": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    sandbox.journal.clear()
    today = datetime.now(UTC).date()
    asked: list[int] = []
    with instance_in(tmp_path / "home") as instance, ExitStack() as held:
        held.enter_context(turn(open_archive(tmp_path / "data"), waits=never, sleep=never))

        def let_go() -> None:
            try:
                until(lambda: any(BUSY in str(e) for run in instance.get_runs() for e in instance.all_logs(run.run_id)))
                asked.append(len(sandbox.journal.entries))
            finally:
                held.close()

        other = threading.Thread(target=let_go)
        other.start()
        result = dg.materialize(
            exporting(),
            instance=instance,
            tags=partition_tags(today, today),
            run_config=dg.RunConfig(ops=op_config(everything=False, full=False)),
        )
        other.join()
    assert (result.success, asked) == (True, [0])
    assert sandbox.journal.entries
