"""What an export has done: counters that grow while it runs, and its report with the verdict at the end."""

from dataclasses import dataclass, field
from datetime import timedelta

from pipelines.errors import IncompleteExport
from pipelines.scope import Scope
from pipelines.tally import Discovery, Extraction
from pipelines.twilio.client import Traffic
from warehouse.land import Load


@dataclass(slots=True)
class Progress:
    """What an export has done so far; grows while it runs."""

    discovery: Discovery = field(default_factory=Discovery)
    extraction: Extraction = field(default_factory=Extraction)
    landed: dict[str, int] = field(default_factory=dict)
    """Rows landed new, by table."""
    changed: dict[str, int] = field(default_factory=dict)
    loads: int = 0
    commit: int = 0
    clock_ahead: timedelta | None = None
    """How far the clock here is ahead of Twilio's, or behind (negative); None when they agree."""
    notes: list[str] = field(default_factory=list)
    """What whoever started it should be told, a sentence each; nothing of it keeps anything from being landed."""
    clients: list[Traffic] = field(default_factory=list)
    """Traffic of each account's client."""

    def traffic(self) -> Traffic:
        """Requests of this export, over all accounts."""
        return Traffic(
            requests=sum(c.requests for c in self.clients),
            refused=sum(c.refused for c in self.clients),
            retried=sum(c.retried for c in self.clients),
            bytes_received=sum(c.bytes_received for c in self.clients),
            contents=sum(c.contents for c in self.clients),
            told_to_wait_until=max((c.told_to_wait_until for c in self.clients), default=0.0),
        )

    def add(self, load: Load) -> None:
        """Count one load."""
        self.commit = load.commit
        self.loads += load.load_id is not None
        for total, counts in ((self.landed, load.added), (self.changed, load.changed)):
            for name, rows in counts.items():
                total[name] = total.get(name, 0) + rows


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did. `verdict` raises when something asked for is not landed."""

    scope: Scope
    progress: Progress
    seconds: float
    no_longer_kept: str | None = None
    """A sentence on days asked for that Twilio no longer keeps."""
    open_entries: int = 0
    """What is open in quarantine at the end, whichever export put it there."""

    @property
    def incomplete(self) -> bool:
        """Whether something that was asked for is not landed, or something is open in quarantine."""
        found = self.progress.extraction
        return bool(found.pending or found.lost or found.gone or found.quarantined or self.open_entries)

    def verdict(self) -> None:
        """Raise IncompleteExport, with the first reason, unless all is landed and nothing is open in quarantine."""
        found = self.progress.extraction
        if not self.incomplete:
            return
        earlier = max(0, self.open_entries - found.quarantined - found.lost)
        if not (found.pending or found.lost or found.gone or found.quarantined):
            raise IncompleteExport(
                f"What was asked for is landed, but {earlier} of what was put into quarantine before is still open; "
                "see `addon-export quarantine list`.",
                again=False,
            )
        parts = [
            f"{count} {what}"
            for count, what in (
                (found.pending, "could not be had from Twilio now"),
                (found.lost, "listed by Twilio but not to be had"),
                (found.gone, "gone at Twilio before their time, which is not said again"),
                (found.quarantined, "unreadable and put into quarantine"),
                (earlier, "open in quarantine since before"),
            )
            if count
        ]
        look = "see `addon-export quarantine list`"
        advice = " and ".join(
            ["run again"] * (found.pending > found.blocked)
            + ["change the setting that is named"] * bool(found.blocked)
            + [look] * bool(not found.pending or self.open_entries)
        )
        raise IncompleteExport(
            f"Not everything could be exported: {', '.join(parts)}; {advice}. First: {found.reasons[0]}",
            again=bool(found.pending),
        )
