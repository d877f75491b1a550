"""What an export of the command line is asked for, from its options to days, with what there is to say before it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from assets.cli.opened import open_and_say
from assets.terminal import say
from pipelines.errors import FixConfiguration
from pipelines.report import Progress
from pipelines.scope import Scope, no_longer_kept
from pipelines.settings import (
    WarehouseSettings,
    environment,
    look_back,
    settle_time,
    start_date,
    twilio_settings,
    warehouse_settings,
)
from pipelines.shown_time import reading_time
from warehouse.store.archive import Archive


@dataclass(frozen=True, slots=True)
class Asked:
    """One export: into which archive, for which days, and as whom.

    `everything`: whatever day results completed on; `first` and `last` are then the days a run is named after. `full`:
    settled recordings are listed again. `let_in`: an account that may come into a root that belongs to others.
    """

    archive: Archive
    target: WarehouseSettings
    first: date
    last: date
    everything: bool
    full: bool
    let_in: str

    @property
    def scope(self) -> Scope:
        """The same for the stages."""
        settle = settle_time(environment())
        if self.everything:
            return Scope(full=self.full, settle=settle)
        return Scope(self.first, self.last, full=self.full, settle=settle, look_back=look_back(environment()))

    @property
    def kind(self) -> str | None:
        """Exports of one kind do the same: what one that waits will do is all that another one could."""
        return ("full" if self.full else "everything") if self.everything else None


def asked(first: date | None, last: date | None, *, full: bool, add_account: bool = False) -> Asked:
    """What the options mean today, by Twilio's day as the archive knows it; what is out of reach is said.

    Raises:
        FixConfiguration: a setting is missing or wrong, or the range has not begun.
        WarehouseError: the archive cannot be opened.
    """
    settings = twilio_settings(environment())  # before anything is started, so that a missing one is said at once
    start_date(environment())  # nothing here needs it, and whoever set it wrong wants to know
    target = warehouse_settings(environment())
    archive = open_and_say(target)
    now = reading_time(archive, here=datetime.now(UTC))
    today = now.date()
    if first is not None and first > today:
        raise FixConfiguration(f"--from {first} is in the future, today is {today} (UTC): nothing can be exported yet.")
    everything = first is None and last is None
    if everything:
        first, last = today - timedelta(days=1), today
    last = last or today
    first = first or min(last, today - timedelta(days=30))
    if last > today:
        say(f"--to {last} is in the future; exporting up to today, {today}.")
        last = today
    if not everything and (sentence := no_longer_kept(Scope(first, last), now=now)) is not None:
        say(sentence)
    say(f"Exporting account {settings.account_sid} to {target.root} ({target.destination}).")
    return Asked(archive, target, first, last, everything, full, settings.account_sid if add_account else "")


def say_all(notes: Sequence[str]) -> None:
    """Say what whoever started an export should be told."""
    for note in notes:
        say(note)


def numbers(progress: Progress) -> tuple[int, int, str]:
    """What the line of progress shows."""
    found, traffic = progress.extraction, progress.traffic()
    wait = traffic.told_to_wait_until - time.monotonic()  # the clock of the loop
    told = f"told to wait {wait:.0f} s, " if wait >= 1 else ""
    text = (
        f"{told}{found.results} results, {found.contents} contents, {found.content_bytes / 1e6:.1f} MB, "
        f"{traffic.requests} requests"
    )
    return progress.discovery.recordings, found.recordings + progress.discovery.settled, text
