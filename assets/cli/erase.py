"""The command `addon-export erase`: for good, and here only."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assets.cli.opened import open_and_say
from assets.cli.process import interrupted
from assets.terminal import say, show
from pipelines.errors import ConfirmErasure, FixConfiguration, FixWarehouse
from pipelines.records import sids
from pipelines.records.sids import AddOnResultSid, RecordingSid
from pipelines.settings import environment, retention_days, warehouse_settings

if TYPE_CHECKING:
    from warehouse.published.publish import Destination
    from warehouse.store.archive import Archive
    from warehouse.upkeep.erase import Erasure

IN_USE = "An export or another command is using the archive; waiting until it is done. Ctrl-C stops waiting."

SAY_WHAT = "Say what to erase: --recording SID, --result SID or --older."


def add_erase_command(erase: argparse.ArgumentParser) -> None:
    """Give the parser of `erase` its options; the duty to erase may outlive the account, so it needs none."""
    erase.set_defaults(run=_erase, needs_account=False)
    for flag, of, text in (
        ("--recording", _recording, "a recording (RE...) with its results, payloads and contents; may be repeated"),
        ("--result", _result, "an add-on result (XR...) with its payloads and contents; may be repeated"),
    ):
        erase.add_argument(flag, type=of, action="append", default=[], metavar="SID", help=text)
    text = "what is older than EXPORT_RETENTION_DAYS, as every export does at its end"
    erase.add_argument("--older", action="store_true", help=text)
    text = (
        "with --older: go on although it is more than usual, announced for later, or by another clock; ROWS as it says"
    )
    erase.add_argument("--confirm", type=_rows, metavar="ROWS", help=text)
    erase.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    erase.add_argument("--dry-run", action="store_true", help="say what would be erased; changes nothing")


def _erase(options: argparse.Namespace) -> int:
    from pipelines.erase.choice import erase_sids, unattributed
    from pipelines.opening import to_read
    from warehouse.memory import return_freed_memory
    from warehouse.store.lock import alone
    from warehouse.upkeep.erase import Erasure, finish

    return_freed_memory()
    settings = warehouse_settings(environment())
    days = retention_days(environment())
    if options.older and days is None:
        raise FixConfiguration("Nothing says what is too old: set EXPORT_RETENTION_DAYS to a number of days from 30.")
    if options.confirm is not None and not options.older:
        raise FixConfiguration("--confirm belongs to --older; SIDs need none.")
    asked = bool(options.recording or options.result or options.older)
    now, dry = datetime.now(UTC), options.dry_run
    try:
        archive = to_read(settings)
    except FixWarehouse:
        if not asked:
            raise FixConfiguration(SAY_WHAT) from None
        if dry or not (options.recording or options.result):
            raise
        # it may be asked for on the day of the call, and must be known before the first export
        archive = open_and_say(settings)
        say(f"Nothing has been exported to {settings.root.absolute()} yet; the wish is recorded there.")
    finished = False
    if not dry:
        archive = open_and_say(settings)
        with alone(archive.root, wait=False) as free:
            if not free:
                say(IN_USE)
        with _to_its_end(archive, settings.destination, now=now):
            finished = finish(archive, settings.destination, now=now, wait=True)
    if finished:
        say("An erasure that had been cut off is finished.")
    if not (finished or asked):
        raise FixConfiguration(SAY_WHAT)

    def run(*, dry_run: bool) -> list[Erasure | None]:
        found: list[Erasure | None] = []
        if options.recording or options.result:
            sids_of = {"recordings": options.recording, "results": options.result}
            found.append(erase_sids(archive, settings.destination, **sids_of, now=now, dry_run=dry_run))
        if options.older and days is not None:
            found.append(_older(archive, settings.destination, options, days=days, dry_run=dry_run, here=now))
        return found

    if asked and not dry and not options.yes and sys.stdin.isatty() and sys.stderr.isatty():
        rows_found = sum(sum(each.rows.values()) for each in run(dry_run=True) if each is not None)
        if not _agreed(rows_found):
            say("Nothing was erased.")
            return 3
    with _to_its_end(archive, settings.destination, now=now):
        erased = run(dry_run=dry)
    done = [each for each in erased if each is not None]
    rows: dict[str, int] = {}
    for each in done:
        for name, count in each.rows.items():
            rows[name] = rows.get(name, 0) + count
    facts = {"rows": rows, "files_removed": sum(each.files_removed for each in done)}
    show(json.dumps({**facts, "commit": archive.head().number, "dry_run": dry}))
    if asked:
        _explain(rows, dry_run=dry, recorded=bool(done))
    if asked and not dry:
        _name_copies(archive)
    if (options.recording or options.result) and (unknown := unattributed(archive)):
        say(
            f"{unknown} payloads do not say whose they are, because their rows were lost to damage: they may belong to "
            "it, and are still here. The next export finds out while Twilio lists them; then erase again."
        )
        return 4
    return 0


@contextlib.contextmanager
def _to_its_end(archive: "Archive", destination: "Destination", *, now: datetime) -> Iterator[None]:
    """Finish an erasure that the block has begun and was interrupted in: what is erased is not to stay on the disk.

    A second interruption stops that too; then `verify` says so, and the next export or erasure finishes it.
    """
    from warehouse.upkeep.erase import finish

    try:
        yield
    except BaseException:
        if interrupted():
            finish(archive, destination, now=now)
        raise


def _older(
    archive: "Archive",
    destination: "Destination",
    options: argparse.Namespace,
    *,
    days: int,
    dry_run: bool,
    here: datetime,
) -> "Erasure | None":
    """Erase by age, or say what that would take.

    Raises:
        ConfirmErasure: it waits.
    """
    from pipelines.erase.by_age import confirm, erase_by_age
    from pipelines.erase.choice import erase_older
    from pipelines.erase.retention import Waits
    from pipelines.shown_time import trusted_time

    if dry_run:
        now = trusted_time(archive, here=here) or here
        return erase_older(archive, destination, days=days, now=now, wait=True, dry_run=True)
    if options.confirm is not None:
        return confirm(archive, destination, days=days, here=here, rows=options.confirm)
    found = erase_by_age(archive, destination, days=days, here=here, wait=True)
    if isinstance(found, Waits):
        raise ConfirmErasure(found.sentence)
    return found


def _rows(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def _agreed(rows: int) -> bool:
    """Whether the person at the terminal says yes."""
    say(f"{rows} rows would be erased here, for good. Erase them? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _name_copies(archive: "Archive") -> None:
    from warehouse.upkeep.copies import copies_of_erased

    copies = copies_of_erased(archive)
    for path in copies.holding:
        say(f"{path} under EXPORT_ROOT is not ours and holds a SID that is erased; remove it if you must.")
    if copies.unread:
        say(f"{len(copies.unread)} files of others could not be looked into: {', '.join(copies.unread[:3])}.")


def _explain(rows: dict[str, int], *, dry_run: bool, recorded: bool) -> None:
    if dry_run:
        say(f"Nothing was erased; {sum(rows.values())} rows would be.")
    elif rows:
        say(
            f"{sum(rows.values())} rows are erased here, and will not be exported again. Not reached: what Twilio "
            "itself still has, backups, plans of deletions, Dagster's history (SIDs, counts), files readers hold open."
        )
    elif recorded:
        say("Nothing of it was landed; it is recorded, and will not be exported.")
    else:
        say("There was nothing to erase, or it was erased before.")


def _recording(text: str) -> RecordingSid:
    try:
        return sids.recording_sid(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _result(text: str) -> AddOnResultSid:
    try:
        return sids.add_on_result_sid(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
