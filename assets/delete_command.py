"""The commands `addon-export delete plan` and `delete apply`."""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from assets.terminal import progress_line, say, show
from pipelines.errors import FixConfiguration


def add_delete_commands(delete: argparse.ArgumentParser, add_days: Callable[..., None]) -> None:
    """Give the parser of `delete` its two commands; `add_days` adds --from and --to."""
    steps = delete.add_subparsers(metavar="plan|apply", required=True)
    text = "write down what would be deleted and why that is safe; changes nothing"
    plan = steps.add_parser("plan", help=text, description=text)
    plan.set_defaults(run=_plan, needs_account=True)
    add_days(plan, required=True)
    plan.add_argument("--min-age-hours", type=_hours, default=72.0, metavar="H", help="rest time (default 72)")
    plan.add_argument("--max-delete", type=_count, default=500, metavar="N", help="most results (default 500)")
    plan.add_argument(
        "--max-share", type=_share, default=0.2, metavar="S", help="largest share of what is exported (default 0.2)"
    )
    plan.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the plan")
    text = "delete at Twilio, for good, what a plan names"
    apply = steps.add_parser("apply", help=text, description=text)
    apply.set_defaults(run=_apply, needs_account=False)
    apply.add_argument("plan", type=Path, metavar="FILE", help="the plan")
    apply.add_argument("--confirm", required=True, metavar="HASH", help="the hash that `delete plan` printed")


def _plan(options: argparse.Namespace) -> int:
    from assets.deletion import make_plan
    from pipelines.deletion_plan import Terms

    first: date = options.first
    last: date = options.last
    if first > last:
        raise FixConfiguration(f"--from {first} is after --to {last}; swap them.")
    terms = Terms(min_age_hours=options.min_age_hours, max_delete=options.max_delete, max_share=options.max_share)
    plan = make_plan(first, last, terms=terms, out=options.out)
    show(
        json.dumps(
            {
                "plan": str(options.out),
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
    for reason, count in Counter(left.reasons[0] for left in plan.left_out).most_common(5):
        say(f"{count} left out: {reason}")
    if plan.results:
        say(
            f"Nothing was deleted. {len(plan.results)} add-on results can be, for good, with: "
            f"addon-export delete apply {options.out} --confirm {plan.hash}"
        )
    else:
        say(f"Nothing was deleted, and no add-on result of these days can be now; {options.out} has every reason.")
    return 0


def _apply(options: argparse.Namespace) -> int:
    from assets.deletion import apply_plan
    from pipelines.delete import DeleteReport

    report = DeleteReport()
    try:
        with progress_line("add-on results", lambda: (report.planned, report.before + report.gone, "deleted")):
            apply_plan(options.plan, options.confirm, report=report)
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
