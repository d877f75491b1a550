"""The command `addon-export erase`: for good, and here only."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from assets.cli.arguments import Command, Parsed, whole_number
from assets.cli.ending import ExitCode
from assets.cli.opened import open_and_say
from assets.cli.process import interrupted
from assets.terminal import say, show
from pipelines.erase.by_age import confirm, erase_by_age
from pipelines.erase.choice import erase_older, erase_sids, unattributed
from pipelines.erase.retention import Waits
from pipelines.errors import ConfirmErasure, FixConfiguration, FixWarehouse
from pipelines.opening import to_read
from pipelines.records.sids import AddOnResultSid, RecordingSid, add_on_result_sid, recording_sid
from pipelines.settings import WarehouseSettings, environment, retention_days, warehouse_settings
from pipelines.shown_time import trusted_time
from warehouse.memory import return_freed_memory
from warehouse.store.archive import Archive
from warehouse.store.lock import alone
from warehouse.store.names import Destination
from warehouse.upkeep.copies import copies_of_erased
from warehouse.upkeep.erase import Erasure, finish

IN_USE = "An export or another command is using the archive; waiting until it is done. Ctrl-C stops waiting."

SAY_WHAT = "Say what to erase: --recording SID, --result SID or --older."


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be erased: by SID, and by age where `days` is not None, with the number of rows that was confirmed."""

    recordings: Sequence[RecordingSid]
    results: Sequence[AddOnResultSid]
    days: int | None
    confirmed: int | None

    def __bool__(self) -> bool:
        return bool(self.recordings or self.results or self.days is not None)


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export erase --recording RE0123456789abcdef0123456789abcdef --dry-run
      addon-export erase --result XR0123456789abcdef0123456789abcdef --yes
      addon-export erase --older --confirm 1200
    """,
)
@click.option(
    "--recording",
    "recordings",
    type=Parsed(lambda text: recording_sid(text.strip())),
    multiple=True,
    metavar="SID",
    help="A recording with all that belongs to it; may be repeated.",
)
@click.option(
    "--result",
    "results",
    type=Parsed(lambda text: add_on_result_sid(text.strip())),
    multiple=True,
    metavar="SID",
    help="An add-on result with its payloads and contents; may be repeated.",
)
@click.option("--older", is_flag=True, help="What is older than EXPORT_RETENTION_DAYS.")
@click.option(
    "--confirm",
    "confirmed",
    type=whole_number("a number of rows", most=10**18),
    metavar="ROWS",
    help="With --older: go on although it is more than usual, announced, or by another clock; ROWS as it says.",
)
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased; changes nothing.")
def command(
    recordings: Sequence[RecordingSid],
    results: Sequence[AddOnResultSid],
    older: bool,
    confirmed: int | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Erase a recording, a result, or what is too old, here and for good; needs no account."""
    return_freed_memory()
    settings, now = warehouse_settings(environment()), datetime.now(UTC)
    days = retention_days(environment())
    if older and days is None:
        raise FixConfiguration("Nothing says what is too old: set EXPORT_RETENTION_DAYS to a number of days from 30.")
    if confirmed is not None and not older:
        raise FixConfiguration("--confirm belongs to --older; SIDs need none.")
    wish = _Wish(recordings, results, days if older else None, confirmed)
    archive = _opened(settings, wish, now=now, dry_run=dry_run)
    if wish and not dry_run and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        found = _erase(archive, settings.destination, wish, now=now, dry_run=True)
        if not _agreed(sum(sum(each.rows.values()) for each in found)):
            say("Nothing was erased.")
            return ExitCode.REFUSED
    with _to_its_end(archive, settings.destination, now=now):
        done = _erase(archive, settings.destination, wish, now=now, dry_run=dry_run)
    _tell(archive, done, wish, dry_run=dry_run)
    if (recordings or results) and (unknown := unattributed(archive)):
        say(
            f"{unknown} payloads do not say whose they are, because their rows were lost to damage: they may belong to "
            "it, and are still here. The next export finds out while Twilio lists them; then erase again."
        )
        return ExitCode.MISMATCH
    return ExitCode.OK


def _opened(settings: WarehouseSettings, wish: _Wish, *, now: datetime, dry_run: bool) -> Archive:
    """The archive, once an erasure that was cut off is finished; for a dry run as it is.

    Raises:
        FixConfiguration: nothing is asked for, and nothing was cut off.
        FixWarehouse: there is no archive, and no SID whose erasure could be recorded.
    """
    try:
        archive = to_read(settings)
    except FixWarehouse:
        if not wish:
            raise FixConfiguration(SAY_WHAT) from None
        if dry_run or not (wish.recordings or wish.results):
            raise
        # it may be asked for on the day of the call, and must be known before the first export
        archive = open_and_say(settings)
        say(f"Nothing has been exported to {settings.root.absolute()} yet; the wish is recorded there.")
    finished = False
    if not dry_run:
        archive = open_and_say(settings)
        with alone(archive.root, wait=False) as free:
            if not free:
                say(IN_USE)
        with _to_its_end(archive, settings.destination, now=now):
            finished = finish(archive, settings.destination, now=now, wait=True)
    if finished:
        say("An erasure that had been cut off is finished.")
    elif not wish:
        raise FixConfiguration(SAY_WHAT)
    return archive


def _erase(
    archive: Archive, destination: Destination, wish: _Wish, *, now: datetime, dry_run: bool
) -> Sequence[Erasure]:
    """Erase, or count what would be; nothing is said of what was not there."""
    found: list[Erasure | None] = []
    if wish.recordings or wish.results:
        found.append(
            erase_sids(archive, destination, recordings=wish.recordings, results=wish.results, now=now, dry_run=dry_run)
        )
    if wish.days is not None:
        found.append(_older(archive, destination, days=wish.days, confirmed=wish.confirmed, dry_run=dry_run, here=now))
    return [each for each in found if each is not None]


def _tell(archive: Archive, done: Sequence[Erasure], wish: _Wish, *, dry_run: bool) -> None:
    rows: Counter[str] = Counter()
    for each in done:
        rows.update(each.rows)
    facts = {"rows": rows, "files_removed": sum(each.files_removed for each in done)}
    show(json.dumps({**facts, "commit": archive.head().number, "dry_run": dry_run}))
    if wish:
        _explain(rows, dry_run=dry_run, recorded=bool(done))
    if wish and not dry_run:
        _name_copies(archive)


@contextlib.contextmanager
def _to_its_end(archive: Archive, destination: Destination, *, now: datetime) -> Iterator[None]:
    """Finish an erasure that the block has begun and was interrupted in: what is erased is not to stay on the disk.

    A second interruption stops that too; then `verify` says so, and the next export or erasure finishes it.
    """
    try:
        yield
    except BaseException:
        if interrupted():
            finish(archive, destination, now=now)
        raise


def _older(
    archive: Archive,
    destination: Destination,
    *,
    days: int,
    confirmed: int | None,
    dry_run: bool,
    here: datetime,
) -> Erasure | None:
    """Erase by age, or say what that would take.

    Raises:
        ConfirmErasure: it waits.
    """
    if dry_run:
        now = trusted_time(archive, here=here) or here
        return erase_older(archive, destination, days=days, now=now, wait=True, dry_run=True)
    if confirmed is not None:
        return confirm(archive, destination, days=days, here=here, rows=confirmed)
    found = erase_by_age(archive, destination, days=days, here=here, wait=True)
    if isinstance(found, Waits):
        raise ConfirmErasure(found.sentence)
    return found


def _agreed(rows: int) -> bool:
    """Whether the person at the terminal says yes."""
    say(f"{rows} rows would be erased here, for good. Erase them? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _name_copies(archive: Archive) -> None:
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
