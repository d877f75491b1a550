"""A launched run that is terminated, interrupted or killed: no more requests, a whole warehouse, the next one resumes.

The runs are launched as the UI launches them: GraphQL, a code server, a process of their own.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.constants import GrpcServerCommand
from dagster_graphql.test.utils import execute_dagster_graphql

from assets.asking import partition_tags
from assets.runs.alive import gone, known
from assets.runs.pool import POOL, free_abandoned
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import ROOT
from tests.assets.instances import instance_in
from tests.pipelines.conftest import Exporter
from warehouse.schema import ADD_ON_PAYLOADS, RECORDINGS
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

XH = re.compile(r"XH[0-9a-f]{32}")

PATIENCE = 120.0
"""Seconds; only a defect takes as long."""

LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""

TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"""


def until(holds: Callable[[], object]) -> None:
    """Wait for something, and fail when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Dagster:
    """What stands behind the UI's buttons."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        self.instance, self._workspace = instance, workspace

    def ask(self, query: str, **variables: object) -> dict[str, dict[str, object]]:
        """Ask GraphQL."""
        context = self._workspace.create_request_context()
        return dict(execute_dagster_graphql(context, query, variables).data)

    def launch(self) -> str:
        """Launch an export of everything; its run id."""
        today = datetime.now(UTC).date()
        selector = {"repositoryLocationName": "addon_export", "repositoryName": "__repository__", "jobName": "export"}
        tags = [{"key": key, "value": value} for key, value in partition_tags(today, today).items()]
        params = {
            "selector": selector,
            "runConfigData": {"ops": {"export_add_ons": {"config": {"everything": True}}}},
            "executionMetadata": {"tags": tags},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run = answer["run"]
        assert isinstance(run, dict)
        return str(run["runId"])

    def process(self, run_id: str) -> int:
        """The process that executes a run."""
        messages = [
            entry.dagster_event.message or "" for entry in self.instance.all_logs(run_id) if entry.dagster_event
        ]
        (pid,) = {
            int(found[1]) for text in messages if (found := re.search(r"Executing steps in process \(pid: (\d+)", text))
        }
        return pid

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A made-up world that takes its time, and the environment of this process pointing at it."""
    with (
        Sandbox(made_up_world(now=datetime.now(UTC), recordings=200)) as running,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        root = tmp_path_factory.mktemp("export") / "data"
        values = {**running.environment, "EXPORT_ROOT": str(root), "TWILIO_MAX_CONCURRENCY": "20"}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def dagster(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """An instance that launches at once, where users' own has a queue before it, and the project's workspace."""
    home = tmp_path_factory.mktemp("dagster") / "home"
    with instance_in(home):
        pass
    text = (home / "dagster.yaml").read_text().replace("  runs:\n    max_concurrent_runs: 2\n", "")
    launching = "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
    (home / "dagster.yaml").write_text(text + launching)
    target = WorkspaceFileTarget([str(ROOT / "workspace.yaml")])
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        GrpcServerRegistry(
            instance.get_ref(), GrpcServerCommand.API_GRPC, 60, 60, wait_for_processes_on_shutdown=True
        ) as servers,
        WorkspaceProcessContext(instance, target, grpc_server_registry=servers) as workspace,
    ):
        yield Dagster(instance, workspace)


def ended(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def whole_payloads(archive: Archive) -> set[str]:
    """Payloads whose contents are landed, and their recording too: those that were not under way at the end."""
    payloads, recordings = (archive.relation(t, archive.head().tables[t.name]) for t in (ADD_ON_PAYLOADS, RECORDINGS))
    with archive.database() as db:
        rows = db.execute(
            f"SELECT sid FROM {payloads} WHERE content_sha256 IS NOT NULL AND reference_sid IN "
            f"(SELECT sid FROM {recordings} WHERE listed_at IS NOT NULL)"
        ).fetchall()
    return {sid for (sid,) in rows}


def stop(dagster: Dagster, run_id: str, how: str) -> None:
    """Stop a run from outside."""
    if how == "terminate":
        assert dagster.ask(TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    else:
        os.kill(dagster.process(run_id), signal.Signals[how])


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("terminate", dg.DagsterRunStatus.CANCELED),
        ("SIGTERM", dg.DagsterRunStatus.FAILURE),
        ("SIGKILL", dg.DagsterRunStatus.FAILURE),
    ],
)
def test_a_run_that_is_stopped_leaves_a_whole_warehouse_and_the_next_goes_on(
    how: str, ends: dg.DagsterRunStatus, dagster: Dagster, sandbox: Sandbox
) -> None:
    """No request comes after it, its slot is free, verification passes, and nothing landed is downloaded again."""
    root = Path(os.environ["EXPORT_ROOT"])
    shutil.rmtree(root, ignore_errors=True)
    archive = open_archive(root)
    sandbox.journal.clear()
    sandbox.settings.latency = 0.2
    run_id = dagster.launch()
    truth = sum(len(t.payloads) for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid))
    # a signal lets it land what it holds; whoever is killed has only what was landed before
    until(lambda: archive.head().rows("contents") if how == "SIGKILL" else sandbox.journal.count("Content") >= 60)
    pid = dagster.process(run_id)
    stop(dagster, run_id, how)
    until(lambda: ended(pid))
    asked = len(sandbox.journal.entries)
    assert how == "SIGKILL" or sandbox.journal.count("Content") < truth / 2, "it went on"

    if how == "SIGKILL":
        until(lambda: gone(dagster.instance, run_id))  # its last thread holds the lock
        assert free_abandoned(dagster.instance) == [run_id]
    until(lambda: dagster.run(run_id).is_finished)
    assert dagster.run(run_id).status == ends
    until(lambda: free_abandoned(dagster.instance) == [] and run_id not in known(dagster.instance))  # as above
    assert dagster.instance.event_log_storage.get_concurrency_info(POOL).claimed_slots == []

    assert verify(archive).mismatches == ()
    landed = whole_payloads(archive)
    assert landed
    # what was in flight, 20 requests at the API and as many at storage, is written down when it is answered
    assert len(sandbox.journal.entries) - asked <= 40
    sandbox.journal.clear()
    sandbox.settings.latency = 0.0
    again = Exporter(sandbox, archive)
    if how == "terminate":
        run_id = dagster.launch()
        until(lambda: dagster.run(run_id).is_finished)
        assert dagster.run(run_id).status == dg.DagsterRunStatus.SUCCESS
    else:  # the same without Dagster, which takes less time
        again().verdict()
    exported = again.rows("SELECT count(*) FROM contents")
    assert exported == [(truth,)]
    downloaded = {sid for entry in sandbox.journal.entries if "/Data" in entry.path for sid in XH.findall(entry.path)}
    assert downloaded
    assert not downloaded & landed
    assert verify(archive).mismatches == ()
