"""The commands `addon-export delete plan` and `delete apply`."""

import json
from collections import Counter
from datetime import date
from pathlib import Path

import click

from assets.cli.arguments import Group, check_order, days, number, whole_number
from assets.plan_folder import kept_plan, plan_file
from assets.plans import carry_out, confirmed_plan, limits, make_sealed_plan
from assets.progress_line import progress_line
from assets.runs.home import dagster_home
from assets.terminal import say, show
from pipelines.delete.apply import DeleteReport
from pipelines.delete.plan import DeletePlan, Terms, is_plan_id
from pipelines.settings import delete_settings, environment, twilio_settings, warehouse_settings


@click.group(cls=Group)
def command() -> None:
    """Delete at Twilio what is proven to be safe here: first a plan, then its confirmation."""


@command.command(
    epilog="""
    Examples:
      addon-export delete plan --from 2026-11-01 --to 2026-11-10
      addon-export delete plan --from 2026-11-01 --to 2026-11-10 --out plan.json
    """
)
@days(required=True)
@click.option(
    "--min-age-hours",
    type=number("hours from 0 to 1,000", most=1000),
    metavar="H",
    help="Rest time.  [default: EXPORT_DELETE_MIN_AGE_HOURS, else 72]",
)
@click.option(
    "--max-delete",
    type=whole_number("a whole number", most=999_999_999),
    metavar="N",
    help="Most results.  [default: EXPORT_DELETE_MAX, else 500]",
)
@click.option(
    "--max-share",
    type=number("a share from 0 to 1", most=1),
    metavar="S",
    help="Largest share of what is exported.  [default: EXPORT_DELETE_MAX_SHARE, else 0.2]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan to a file too, for people to read."
)
def plan(
    first: date,
    last: date,
    min_age_hours: float | None,
    max_delete: int | None,
    max_share: float | None,
    out: Path | None,
) -> None:
    """Write down what would be deleted and why; deletes nothing."""
    twilio_settings(environment())  # first, so that missing credentials are said at once
    check_order(first, last)
    allowed = limits()
    terms = Terms(
        min_age_hours=allowed.min_age_hours if min_age_hours is None else min_age_hours,
        max_delete=allowed.max_delete if max_delete is None else max_delete,
        max_share=allowed.max_share if max_share is None else max_share,
    )
    made = make_sealed_plan(first, last, terms=terms, out=out)
    show(
        json.dumps(
            {
                "plan": made.id if out is None else str(out),
                "id": made.id,
                "hash": made.hash,
                "results": len(made.results),
                "payloads": sum(len(result.payloads) for result in made.results),
                "content_bytes": made.content_bytes,
                "left_out": len(made.left_out),
                "exported": made.exported,
                "valid_until": made.valid_until.isoformat(),
            }
        )
    )
    _say_what_comes_next(made, out)


def _say_what_comes_next(plan: DeletePlan, out: Path | None) -> None:
    for reason, count in Counter(left.reasons[0] for left in plan.left_out).most_common(5):
        say(f"{count} left out: {reason}")
    if resting := [left.rests_until for left in plan.left_out if left.rests_until is not None]:
        hours = (min(resting) - plan.created_at).total_seconds() / 3600
        say(
            f"The first of those that rest may be deleted in {max(hours, 0):.1f} hours: --min-age-hours is "
            f"{plan.terms.min_age_hours:g}, and EXPORT_DELETE_MIN_AGE_HOURS sets how low it may be."
        )
    if plan.results:
        say(
            f"Nothing was deleted. {len(plan.results)} add-on results can be, for good, with: "
            f"addon-export delete apply {plan.id if out is None else out} --confirm {plan.hash}"
        )
    else:
        where = "the plan" if out is None else out
        say(f"Nothing was deleted, and no add-on result of these days can be now; {where} has every reason.")


@command.command(
    epilog="""
    Example:
      addon-export delete apply 0123456789abcdef --confirm HASH
    """
)
@click.argument("plan")
@click.option("--confirm", required=True, metavar="HASH", help="The hash that `delete plan` printed.")
def apply(plan: str, confirm: str) -> None:
    """Delete at Twilio, for good, what a plan names.

    PLAN is its id that `delete plan` printed, or its file.
    """
    report = DeleteReport()
    try:
        delete_settings(environment())  # before anything else, so that a missing one is said at once
        by_id = is_plan_id(plan) and not Path(plan).exists()
        root = warehouse_settings(environment()).root
        text = kept_plan(dagster_home(root), plan) if by_id else plan_file(Path(plan))
        confirmed = confirmed_plan(text, confirm)
        with progress_line("add-on results", lambda: (report.planned, report.before + report.gone, "deleted")):
            carry_out(confirmed, report=report)
    finally:
        show(json.dumps(report.as_json()))
    say(
        f"{report.before + report.gone} add-on results are deleted at Twilio; everything that was landed is still here."
    )
