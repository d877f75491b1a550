"""The table of conditions, end to end: of all combinations of what can be wrong, one sends a DELETE.

Each condition is broken for real: at the source, in the warehouse, in the plan. A warehouse and its plan serve all
combinations of what is wrong elsewhere, because nothing is deleted. The suite runs a sample; all 1,024 rows run with
`ALL_ROWS=1`.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.delete.plan import DeletePlan
from pipelines.errors import PlanAgain
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.values import Result
from tests.pipelines.conftest import Exporter
from tests.pipelines.delete.deleting import Deleter, ready
from tests.pipelines.delete.test_guards import edit_published
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import CONTENTS
from warehouse.store.opening import open_archive

HERE = ("reread", "published", "clean")
THERE = ("final", "unchanged", "same_payloads", "listed", "own_account")
PLANNED = ("rested", "as_planned")
SAMPLE = 16

Broken = frozenset[str]


@dataclass
class Case:
    """One warehouse with something wrong in it, and the plan that was made before."""

    deleter: Deleter
    plan: DeletePlan
    result: Result


@pytest.fixture
def cases(exporter: Exporter, tmp_path: Path) -> dict[Broken, Case]:
    """A warehouse for every combination of what can be wrong here, all of the same source."""
    deleter, (result,) = ready(exporter, 1)
    made = {}
    for number, broken in enumerate(combinations(HERE)):
        root = tmp_path / f"{number}" / "data"
        shutil.copytree(exporter.archive.root, root, symlinks=True)
        own = replace(deleter, archive=open_archive(root))
        made[broken] = Case(own, own.plan(), result)
        break_here(made[broken], broken)
    return made


def combinations(names: tuple[str, ...]) -> Iterator[Broken]:
    """Every set of them, the empty one first."""
    for count in range(len(names) + 1):
        yield from map(frozenset, itertools.combinations(names, count))


def break_here(case: Case, broken: Broken) -> None:
    """Make the warehouse wrong, so that each file is still what its commit names."""
    archive, now, planned = case.deleter.archive, case.deleter.sandbox.now, case.plan.results[0]
    if "reread" in broken:
        head = archive.head()
        (file,) = head.tables[CONTENTS.name].values()
        rows = pq.read_table(archive.root / file.path, partitioning=None).to_pylist()
        rows[0]["content"] = bytes(len(rows[0]["content"]))
        wrong = pa.Table.from_pylist(rows, schema=CONTENTS.file_schema)
        sealed = archive.seal(CONTENTS, planned.completed_date, wrong.to_batches())
        archive.commit(head, drop=[file], add=[sealed], at=now, run_id="wrong")
    if "clean" in broken:
        row = QuarantineRow("payload", planned.payloads[0].sid, planned.sid, None, "A reason.", b"raw")
        land(archive, {"quarantine": quarantine_rows([row], now=now)}, run_id="wrong", now=now)
    if broken:
        publish(archive, "duckdb", now=now)
    if "published" in broken:
        edit_published(archive, "UPDATE add_on_results SET status = 'edited'", hide=True)


@contextmanager
def broken_there(sandbox: Sandbox, result: Result, broken: Broken) -> Iterator[None]:
    """Make the source wrong for a while."""
    world = sandbox.world
    overrides: dict[str, object] = {}
    if "final" in broken:
        overrides["status"] = "failed"
    if "unchanged" in broken:
        overrides["date_updated"] = "Fri, 20 Nov 2026 11:00:00 +0000"
    if "own_account" in broken:
        overrides["account_sid"] = "AC" + "9" * 32
    world.put(replace(result, overrides=overrides))
    late = None
    if "same_payloads" in broken:
        late = world.add_payload(result, b"late", date_created=sandbox.now - timedelta(minutes=1))

    def nothing(request: Request) -> Reply | None:
        empty = b'{"add_on_results": [], "next_page_uri": null}'
        return Reply(200, empty) if request.operation == "ListRecordingAddOnResult" else None

    sandbox.settings.intercept = nothing if "listed" in broken else None
    try:
        yield
    finally:
        sandbox.settings.intercept = None
        world.put(result)
        if late is not None:
            world.lose(late.sid)


def broken_plan(plan: DeletePlan, broken: Broken) -> DeletePlan:
    """A plan that says something else, as if that had been confirmed."""
    if "rested" in broken:
        plan = replace(plan, terms=replace(plan.terms, min_age_hours=1000))
    if "as_planned" in broken:
        first, *others = plan.results
        payload = replace(first.payloads[0], sha256="0" * 64)
        plan = replace(plan, results=(replace(first, payloads=(payload, *first.payloads[1:])), *others))
    return plan


def test_of_all_combinations_of_what_can_be_wrong_one_sends_a_delete(cases: dict[Broken, Case]) -> None:
    """Refused without a DELETE in every row but the one in which nothing is wrong, which comes last."""
    rows = [broken for broken in combinations((*HERE, *THERE, *PLANNED)) if broken]
    if not os.environ.get("ALL_ROWS"):
        singles = [row for row in rows if len(row) == 1]
        rows = singles + Random(4).sample(rows, SAMPLE - len(singles))
    for broken in rows:
        case = cases[broken & frozenset(HERE)]
        sandbox = case.deleter.sandbox
        with broken_there(sandbox, case.result, broken), pytest.raises(PlanAgain):
            case.deleter.apply(broken_plan(case.plan, broken))
        assert case.deleter.sent() == [], broken
    case = cases[frozenset()]
    case.deleter.apply(case.plan)
    assert case.deleter.sent() == [case.result.sid]
