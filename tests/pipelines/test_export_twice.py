"""Two exports at once into one folder, in processes of their own, over overlapping partitions."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from tests.pipelines.exporting import Job, export_in_a_process
from tests.pipelines.test_export import CONTENTS, RESULTS, _true_contents, _true_results
from tests.warehouse.processes import hear, start
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

TODAY = NOW.date()


@pytest.mark.parametrize(
    "scopes",
    [
        (Scope(), Scope(full=True)),
        (
            Scope(TODAY - timedelta(days=40), TODAY - timedelta(days=5)),
            Scope(TODAY - timedelta(days=9), TODAY),
        ),
    ],
    ids=["everything", "overlapping ranges"],
)
def test_two_exports_at_once_lose_nothing_and_double_nothing(scopes: tuple[Scope, Scope], tmp_path: Path) -> None:
    """Both have begun on the same state and landed a part before either goes on; together they land all there is."""
    with Sandbox(made_up_world(now=NOW, recordings=12), now=NOW) as sandbox:
        sandbox.settings.cap, sandbox.settings.latency = 8, 0.002
        root = tmp_path / "data"
        jobs = [
            Job(f"run {n}", sandbox.base_url, sandbox.account_sid, sandbox.auth_token, root, NOW, scope)
            for n, scope in enumerate(scopes)
        ]
        children = [start(export_in_a_process, job) for job in jobs]
        assert [hear(connection) for _, connection in children] == ["half", "half"]
        for _, connection in children:
            connection.send("go on")
        assert [hear(connection) for _, connection in children] == ["done", "done"]
        for process, connection in children:
            process.join()
            connection.close()
        archive = open_archive(root)
        exporter = Exporter(sandbox, archive)
        results, contents = exporter.rows(RESULTS), exporter.rows(CONTENTS)
        assert len(results) == len(set(results))
        assert set(results) == _true_results(sandbox)
        assert len(contents) == len(set(contents))
        assert set(contents) == _true_contents(sandbox)
        assert verify(archive).mismatches == ()
        exporter().verdict()  # what one of them left to the other is looked at once more
        assert exporter.progress.extraction.contents == 0
        head = archive.head()
        exporter().verdict()
        assert archive.head() == head
