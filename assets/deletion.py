"""Deletion from a shell or a run: settings in, plan or report out. The one place that reads the deleting credential.

Plans are made with the credential of the export, which need not be able to delete; only carrying out a plan that
somebody has confirmed uses the other one.
"""

import os
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

from assets.clients import own_client
from assets.interrupt import run_until_interrupted
from pipelines.delete import DeleteReport, delete, propose
from pipelines.deletion_plan import DeletePlan, Terms, read_plan
from pipelines.errors import FixConfiguration
from pipelines.settings import delete_settings, environment, twilio_settings, warehouse_settings
from warehouse.archive import existing_archive, open_archive


def make_plan(first: date, last: date, *, terms: Terms, out: Path | None) -> DeletePlan:
    """Plan a deletion, and write the plan to `out`, readable by its owner only; nothing else is written anywhere.

    Raises:
        ExportError: no plan can be made; `out` is as it was.
    """
    settings, target = twilio_settings(environment()), warehouse_settings(environment())
    archive = existing_archive(target.root, shared_read=target.shared_read)

    async def run() -> DeletePlan:
        async with own_client(settings) as client:
            return await propose(
                client, archive, first=first, last=last, terms=terms, destination=target.destination, clock=_now
            )

    plan = run_until_interrupted(run())
    if out is not None:
        _write(plan, out)
    return plan


def apply_plan(path: Path, confirmed: str, *, report: DeleteReport, run_id: str | None = None) -> DeletePlan:
    """Carry out the plan in a file, if `confirmed` is its hash; `report` grows while it runs.

    Raises:
        ExportError: a guard refused, or it could not be done.
    """
    delete_settings(environment())  # before anything else, so that a missing one is said at once
    plan = plan_in(path, confirmed)
    carry_out(plan, report=report, run_id=run_id)
    return plan


def plan_in(path: Path, confirmed: str) -> DeletePlan:
    """The plan in a file.

    Raises:
        FixConfiguration: the file cannot be read.
        PlanAgain: it is not the plan that was confirmed.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FixConfiguration(f"The plan {path} cannot be read: {error.strerror}.") from error
    return read_plan(text, confirmed)


def carry_out(plan: DeletePlan, *, report: DeleteReport, run_id: str | None = None) -> None:
    """Carry out a plan that was confirmed.

    Raises:
        ExportError: a guard refused, or it could not be done.
    """
    settings, target = delete_settings(environment()), warehouse_settings(environment())
    existing_archive(target.root)
    archive = open_archive(target.root, shared_read=target.shared_read, add_on_names=target.add_on_names)

    async def run() -> None:
        async with own_client(settings) as client:
            await delete(
                client,
                archive,
                plan,
                destination=target.destination,
                run_id=run_id or f"delete-{uuid.uuid4().hex}",
                clock=_now,
                report=report,
            )

    run_until_interrupted(run())


def _write(plan: DeletePlan, out: Path) -> None:
    """Put the plan in place whole: a reader finds the one before or this one."""
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(plan.file_text())
            temporary.rename(out)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise FixConfiguration(f"The plan cannot be written to {out}: {error.strerror}.") from error


def _now() -> datetime:
    return datetime.now(UTC)
