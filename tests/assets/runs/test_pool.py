"""One budget for Twilio: exports take turns, waiting can be ended, and a home of before the pool gets it too."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from assets.delete import delete_add_on_results
from assets.export import export_add_ons
from assets.runs.alive import gone, known
from assets.runs.pool import POOL, limit_pool, slot
from assets.runs.turn import Patience
from pipelines.errors import FixConfiguration, RunLater
from tests.assets.instances import instance_in, made_run


def until(holds: Callable[[], object]) -> None:
    """Wait for something, and fail when it does not come."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def never_waits(run_id: str | None) -> None:
    """Who has to wait, fails."""
    raise AssertionError("the slot is not free")


def test_every_step_that_asks_twilio_is_in_the_pool() -> None:
    """Export and deletion."""
    assert {op.pool for op in (export_add_ons.op, delete_add_on_results)} == {POOL}


def test_what_could_not_be_freed_is_freed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the history cannot be written, neither the slot nor the end of the run is lost sight of."""
    patient = sqlite3.connect  # each of six statements would wait five seconds for the lock
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *at, **how: patient(*at, **{**how, "timeout": 0.1}))
    with instance_in(tmp_path / "home") as instance:
        run = made_run(instance, dg.DagsterRunStatus.STARTED)
        index = tmp_path / "home" / "history" / "runs" / "index.db"
        assert index.exists()
        with closing(sqlite3.connect(index)) as writer:
            with (
                pytest.raises(Exception, match="locked"),
                slot(instance, run.run_id, "asked", waits=print, sleep=time.sleep),
            ):
                writer.execute("BEGIN EXCLUSIVE")
            writer.rollback()
        assert gone(instance, run.run_id)
        with slot(instance, run.run_id[:-4] + "0000", "asked", waits=never_waits, sleep=time.sleep):
            pass
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert known(instance) == set()


def test_a_home_of_before_the_pool_gets_its_limit_and_a_chosen_one_stays(tmp_path: Path) -> None:
    """`dagster.yaml` is copied once, and the older one sets no default."""
    home = tmp_path / "home"
    with instance_in(home):
        pass
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        limit_pool(instance)
        assert instance.event_log_storage.get_concurrency_info(POOL).slot_count == 1
        instance.event_log_storage.set_concurrency_slots(POOL, 3)
        limit_pool(instance)
        assert instance.event_log_storage.get_concurrency_info(POOL).slot_count == 3


class Enough(Exception):
    """Waited long enough."""


def test_of_exports_that_do_the_same_only_one_waits(tmp_path: Path) -> None:
    """A crontab's next line leaves at once, as one that is not to wait does; another kind waits beside it."""
    with instance_in(tmp_path / "home") as instance:
        holder, *others = (made_run(instance, dg.DagsterRunStatus.NOT_STARTED).run_id for _ in range(5))
        left: list[str] = []
        everything = Patience(kind="everything")

        def try_others(seconds: float) -> None:
            for run_id, patience in zip(
                others[1:], (everything, Patience(waits=False), Patience(kind="full")), strict=True
            ):
                with (
                    pytest.raises((RunLater, Enough)) as raised,
                    slot(instance, run_id, "asked", waits=said.append, sleep=stop, patience=patience),
                ):
                    raise AssertionError("there is no slot")
                left.append(str(raised.value))
            raise Enough

        def stop(seconds: float) -> None:
            raise Enough("waits too")

        said: list[str] = []
        with (
            slot(instance, holder, "asked", waits=never_waits, sleep=stop),
            pytest.raises(Enough),
            slot(
                instance, others[0], "asked", waits=said.append, sleep=try_others, patience=Patience(kind="everything")
            ),
        ):
            raise AssertionError("there is no slot")
    assert "waits for it already" in left[0]
    assert "--no-wait" in left[1]
    assert left[2] == "waits too"
    assert all(f"Run {holder[:8]} is using Twilio (the pool `twilio` lets 1 at a time)" in text for text in said)
    assert len(said) == 2


def test_a_pool_that_lets_nobody_in_is_said(tmp_path: Path) -> None:
    """Shut while a run waits, there is nobody to wait for: one sentence with the pool, its limit and the cure."""
    with instance_in(tmp_path / "home") as instance:
        holder, waiting = (made_run(instance, dg.DagsterRunStatus.NOT_STARTED).run_id for _ in range(2))

        def shut(seconds: float) -> None:
            instance.event_log_storage.set_concurrency_slots(POOL, 0)

        with (
            slot(instance, holder, "asked", waits=never_waits, sleep=time.sleep),
            pytest.raises(FixConfiguration, match=r"pool `twilio` .* has the limit 0.* concurrency set twilio 1"),
            slot(instance, waiting, "asked", waits=lambda sentence: None, sleep=shut),
        ):
            raise AssertionError("there is no slot")


def test_a_pool_that_was_shut_is_open_again_for_the_next_export(tmp_path: Path) -> None:
    """Whoever may use the UI must not stop exports for good; switching off a schedule is what is noticed and said."""
    with instance_in(tmp_path / "home") as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 0)
        run_id = made_run(instance, dg.DagsterRunStatus.NOT_STARTED).run_id
        with slot(instance, run_id, "asked", waits=never_waits, sleep=time.sleep):
            assert instance.event_log_storage.get_concurrency_info(POOL).slot_count == 1


def test_what_others_leave_among_the_runs_ends_no_export(tmp_path: Path) -> None:
    """Synology, macOS, Windows, NFS and FUSE leave names of theirs in every folder."""
    with instance_in(tmp_path / "home") as instance:
        for folder in [path for path in (tmp_path / "home").rglob("*") if path.is_dir()] + [
            tmp_path / "home" / "alive"
        ]:
            for name in ("@eaDir", "lost+found", "#recycle", ".snapshot"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for name in ("Thumbs.db", ".DS_Store", "._runs.db", ".nfs0001", ".fuse_hidden01"):
                (folder / name).write_bytes(b"theirs")
        run_id = made_run(instance, dg.DagsterRunStatus.NOT_STARTED).run_id
        with slot(instance, run_id, "asked", waits=never_waits, sleep=time.sleep):
            assert known(instance) == {run_id}
    assert (tmp_path / "home" / "alive" / "Thumbs.db").read_bytes() == b"theirs"
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as again:
        assert again.get_run_by_id(run_id) is not None


def test_a_run_finds_the_slot_taken_for_it(tmp_path: Path) -> None:
    """The step of a run in this process does not wait for the slot that was taken outside of it."""

    @dg.asset(pool=POOL)
    def asked() -> None:
        """Asks nobody."""

    def never(seconds: float) -> None:
        raise AssertionError("there is a slot")

    with instance_in(tmp_path / "home") as instance:
        job = dg.Definitions(assets=[asked], jobs=[dg.define_asset_job("j", [asked])]).resolve_job_def("j")
        run_id = made_run(instance, dg.DagsterRunStatus.CANCELED).run_id[:-4] + "0000"
        with slot(instance, run_id, "asked", waits=lambda run: never(0), sleep=never):
            assert job.execute_in_process(instance=instance, run_id=run_id).success
        assert instance.event_log_storage.get_concurrency_info(POOL).claimed_slots == []
