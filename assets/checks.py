"""Asset checks: the standing questions of `pipelines.findings`, asked after each export and on demand.

They read the warehouse only, so they need no credentials, and answer while another process writes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.resources import existing_warehouse
from pipelines.errors import ExportError
from pipelines.findings import QUESTIONS, Finding, findings
from pipelines.settings import environment, settle_time

SEVERITIES = {"warning": dg.AssetCheckSeverity.WARN, "error": dg.AssetCheckSeverity.ERROR}


@dg.multi_asset_check(
    name="warehouse_checks",
    specs=[
        dg.AssetCheckSpec(q.name, asset=q.table, description=q.description, blocking=q.blocking)
        for q in QUESTIONS.values()
    ],
)
def warehouse_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Ask every question; one that cannot be answered because a file is damaged fails, and so do those after it."""
    archive = existing_warehouse()
    unanswered = dict(QUESTIONS)
    try:
        for finding in findings(archive, now=datetime.now(UTC), settle=settle_time(environment())) if archive else ():
            del unanswered[finding.question.name]
            yield check_result(finding)
    except ExportError as error:
        for question in unanswered.values():
            yield dg.AssetCheckResult(
                passed=False, asset_key=question.table, check_name=question.name, description=str(error)
            )
        return
    for question in unanswered.values():
        yield dg.AssetCheckResult(
            passed=True,
            asset_key=question.table,
            check_name=question.name,
            description="Nothing has been exported yet.",
        )


def check_result(finding: Finding) -> dg.AssetCheckResult:
    """A finding as Dagster shows it: sentence, numbers that plot, and a table of what is wrong."""
    rows = [dg.TableRecord(dict(row)) for row in finding.rows]
    what = {"what": dg.MetadataValue.table(rows)} if rows else {}
    return dg.AssetCheckResult(
        passed=finding.passed,
        asset_key=finding.question.table,
        check_name=finding.question.name,
        severity=SEVERITIES[finding.severity],
        description=finding.sentence,
        metadata={**finding.numbers, **what},
    )
