"""The commands `addon-export delete plan` and `delete apply`."""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from assets.terminal import progress_line, say, show
from pipelines.errors import FixConfiguration

if TYPE_CHECKING:
    from pipelines.delete.plan import DeletePlan


def add_delete_commands(delete: argparse.ArgumentParser, add_days: Callable[..., None]) -> None:
    """Give the parser of `delete` its two commands; `add_days` adds --from and --to."""
    steps = delete.add_subparsers(metavar="plan|apply", required=True)
    text = "write down what would be deleted and why that is safe; deletes nothing"
    plan = steps.add_parser("plan", help=text, description=text)
    plan.set_defaults(run=_plan, needs_account=True)
    add_days(plan, required=True)
    plan.add_argument(
        "--min-age-hours", type=_hours, metavar="H", help="rest time (default: EXPORT_DELETE_MIN_AGE_HOURS, else 72)"
    )
    plan.add_argument(
        "--max-delete", type=_count, metavar="N", help="most results (default: EXPORT_DELETE_MAX, else 500)"
    )
    plan.add_argument(
        "--max-share",
        type=_share,
        metavar="S",
        help="largest share of what is exported (default: EXPORT_DELETE_MAX_SHARE, else 0.2)",
    )
    plan.add_argument("--out", type=Path, metavar="FILE", help="write the plan to a file too, for people to read")
    text = "delete at Twilio, for good, what a plan names"
    apply = steps.add_parser("apply", help=text, description=text)
    apply.set_defaults(run=_apply, needs_account=False)
    apply.add_argument("plan", metavar="PLAN", help="the plan's id that `delete plan` printed, or its file")
    apply.add_argument("--confirm", required=True, metavar="HASH", help="the hash that `delete plan` printed")


def _plan(options: argparse.Namespace) -> int:
    from assets.plans import limits, make_sealed_plan
    from pipelines.delete.plan import Terms

    first: date = options.first
    last: date = options.last
    if first > last:
        raise FixConfiguration(f"--from {first} is after --to {last}; swap them.")
    allowed = limits()
    terms = Terms(
        min_age_hours=allowed.min_age_hours if options.min_age_hours is None else options.min_age_hours,
        max_delete=allowed.max_delete if options.max_delete is None else options.max_delete,
        max_share=allowed.max_share if options.max_share is None else options.max_share,
    )
    plan = make_sealed_plan(first, last, terms=terms, out=options.out)
    show(
        json.dumps(
            {
                "plan": plan.id if options.out is None else str(options.out),
                "id": plan.id,
                "hash": plan.hash,
                "results": len(plan.results),
                "payloads": sum(len(result.payloads) for result in plan.results),
                "content_bytes": plan.content_bytes,
                "left_out": len(plan.left_out),
                "exported": plan.exported,
                "valid_until": plan.valid_until.isoformat(),
            }
        )
    )
    _say_what_comes_next(plan, options.out)
    return 0


def _say_what_comes_next(plan: "DeletePlan", out: Path | None) -> None:
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


def _apply(options: argparse.Namespace) -> int:
    from assets.plan_folder import kept_plan, plan_file
    from assets.plans import carry_out, confirmed_plan
    from assets.runs.home import dagster_home
    from pipelines.delete.apply import DeleteReport
    from pipelines.delete.plan import is_plan_id
    from pipelines.settings import delete_settings, environment, warehouse_settings

    report = DeleteReport()
    try:
        delete_settings(environment())  # before anything else, so that a missing one is said at once
        named: str = options.plan
        by_id = is_plan_id(named) and not Path(named).exists()
        root = warehouse_settings(environment()).root
        text = kept_plan(dagster_home(root), named) if by_id else plan_file(Path(named))
        plan = confirmed_plan(text, options.confirm)
        with progress_line("add-on results", lambda: (report.planned, report.before + report.gone, "deleted")):
            carry_out(plan, report=report)
    finally:
        show(json.dumps(report.as_json()))
    say(
        f"{report.before + report.gone} add-on results are deleted at Twilio; everything that was landed is still here."
    )
    return 0


def _hours(text: str) -> float:
    return _bounded(text, "hours from 0 to 1,000", most=1000)


def _share(text: str) -> float:
    return _bounded(text, "a share from 0 to 1", most=1)


def _bounded(text: str, what: str, *, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
