"""Deletion from a shell or a run: settings in, plan or report out. The one place that reads the deleting credential.

Plans read with the credential of the export, which need not be able to delete; the secret of the other one seals them.
Only carrying out a plan that somebody has confirmed asks Twilio with it.
"""

import uuid
from datetime import UTC, date, datetime
from pathlib import Path

from assets.clients import own_client
from assets.plan_folder import keep_plan
from assets.private_file import write_private
from assets.runs.home import dagster_home
from assets.runs.interrupt import run_until_interrupted
from pipelines.delete.apply import DeleteReport, delete, propose
from pipelines.delete.plan import DeletePlan, Terms
from pipelines.delete.plan_file import SealKey, file_text, read_plan, seal_key
from pipelines.errors import FixConfiguration
from pipelines.opening import to_read, to_write
from pipelines.settings import delete_limits, delete_settings, environment, twilio_settings, warehouse_settings


def limits() -> Terms:
    """What every deletion keeps to, by the environment.

    Raises:
        FixConfiguration: a value cannot be used.
    """
    given = delete_limits(environment())
    return Terms(min_age_hours=given.min_age_hours, max_delete=given.max_delete, max_share=given.max_share)


def make_plan(first: date, last: date, *, terms: Terms) -> DeletePlan:
    """Plan a deletion; nothing is written anywhere.

    Raises:
        ExportError: no plan can be made.
    """
    settings, target = twilio_settings(environment()), warehouse_settings(environment())
    archive = to_read(target)
    allowed = limits()

    async def run() -> DeletePlan:
        async with own_client(settings) as client:
            return await propose(
                client,
                archive,
                first=first,
                last=last,
                terms=terms,
                limits=allowed,
                destination=target.destination,
                clock=_now,
            )

    return run_until_interrupted(run())


def make_sealed_plan(first: date, last: date, *, terms: Terms, out: Path | None = None) -> DeletePlan:
    """Plan a deletion, and keep the plan sealed: in the folder of plans and, for people to read, in `out`.

    Raises:
        ExportError: no plan can be made, or it cannot be kept; `out` is as it was.
    """
    key = _key()  # before anything else, so that a missing one is said at once
    home = dagster_home(warehouse_settings(environment()).root)
    plan = make_plan(first, last, terms=terms)
    text = file_text(plan, key)
    if out is not None:
        try:
            write_private(out, text)
        except OSError as error:
            raise FixConfiguration(f"The plan cannot be written to {out}: {error.strerror}.") from error
    keep_plan(home, plan.id, text)
    return plan


def confirmed_plan(text: bytes, confirmed: str) -> DeletePlan:
    """The plan in a file's `text`, if `confirmed` is its hash and the one who made it may delete.

    Raises:
        PlanAgain: it is not.
        FixConfiguration: there is no credential that may delete.
    """
    return read_plan(text, confirmed, _key())


def carry_out(plan: DeletePlan, *, report: DeleteReport, run_id: str | None = None) -> None:
    """Carry out a plan that was confirmed; `report` grows while it runs.

    Raises:
        ExportError: a guard refused, or it could not be done.
    """
    settings, target = delete_settings(environment()), warehouse_settings(environment())
    allowed = limits()
    to_read(target)
    archive = to_write(target)

    async def run() -> None:
        async with own_client(settings) as client:
            await delete(
                client,
                archive,
                plan,
                limits=allowed,
                destination=target.destination,
                run_id=run_id or f"delete-{uuid.uuid4().hex}",
                clock=_now,
                report=report,
            )

    run_until_interrupted(run())


def _key() -> SealKey:
    return seal_key(delete_settings(environment()).login.password)


def _now() -> datetime:
    return datetime.now(UTC)
