"""The tally of an export: what was seen, what was had, what was not and why, and when the source counts as away."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from pipelines.errors import AccountRefused, ExportError, SourceError, SourceForbidden, SourceUnavailable
from pipelines.records.sids import AccountSid
from warehouse.quarantine import DISMISSED, LANDED, QuarantineRow, quarantine_id
from warehouse.resolutions import OpenEntries

FAILURES_IN_A_ROW = 10
"""Lists and contents that may go unanswered one after another before an account counts as unavailable; and that may
be refused one after another before the credential counts as the reason."""

SAMPLES = 20
"""Reasons kept for the report; all of them are in `quarantine`."""


@dataclass(slots=True)
class Extraction:
    """What one export has extracted so far, and what it could not have."""

    recordings: int = 0
    results: int = 0
    payloads: int = 0
    contents: int = 0
    content_bytes: int = 0
    unfinished: int = 0
    deferred: int = 0
    """Results outside the days asked for: their contents are left to another export."""
    pending: int = 0
    """Contents and lists that could not be had now and may be had later."""
    blocked: int = 0
    """Of these, what a setting here keeps away: running again changes nothing."""
    lost: int = 0
    """Contents that Twilio lists but no longer has."""
    gone: int = 0
    """Results that are landed without all their contents and that Twilio no longer has, found out by this export."""
    quarantined: int = 0
    reasons: list[str] = field(default_factory=list)
    unknown_statuses: Counter[str] = field(default_factory=Counter)
    """As they may be shown; what is landed is the status as sent."""
    failures_in_a_row: Counter[str] = field(default_factory=Counter)
    """By account, like `refusals_in_a_row`: the trouble of one says nothing of the others."""
    refusals_in_a_row: Counter[str] = field(default_factory=Counter)
    resolved: Mapping[str, str] = field(default_factory=dict)
    """How what is in quarantine was resolved, by its id."""
    open_entries: OpenEntries = field(default_factory=OpenEntries)
    """What was open in quarantine when the export began."""
    read_whole: set[str] = field(default_factory=set)
    """Ids of these entries whose subject has been read whole since and handed on, or is landed as it was read."""
    met_again: set[str] = field(default_factory=set)
    """Ids of what came as badly as before."""

    def reads_whole(self, kind: str, sid: str) -> None:
        """What is in quarantine about this one, which has been handed on or is landed, is resolved at the end."""
        self.read_whole.update(self.open_entries.ids.get((kind, sid), ()))

    def is_settled(self, row: QuarantineRow) -> None:
        """What an earlier export put into quarantine is resolved at the end, if it is open."""
        if (identity := quarantine_id(row)) in self.open_entries.ids.get((row.kind, row.sid or ""), ()):
            self.read_whole.add(identity)

    def goes(self, reason: str) -> None:
        """Twilio has no more what should be there: nobody need ask again, and it is said this once."""
        self.gone += 1
        self.note(reason)

    def quarantines(self, row: QuarantineRow, about: str) -> None:
        """Count what goes into quarantine, unless it is there already and resolved.

        A content is asked for only while it is not landed: one that was, and is lost since, waits again.
        """
        identity = quarantine_id(row)
        if self.open_entries.ids:
            self.met_again.add(identity)
        how = self.resolved.get(identity)
        if how == DISMISSED:
            return
        if row.kind == "content" and how == LANDED:
            self.waits(about)
        elif row.raw is None:
            self.lost += 1
            self.note(about)
        elif how is None:
            self.quarantined += 1
            self.note(about)

    def note(self, reason: str) -> None:
        """Keep one of the first reasons why something is not landed."""
        if len(self.reasons) < SAMPLES:
            self.reasons.append(reason)

    def waits(self, reason: str) -> None:
        """Not landed now; the next export tries again."""
        self.pending += 1
        self.note(reason)

    def blocks(self, reason: str) -> None:
        """Not landed as things are set here; the first such reason is the first that is said."""
        self.pending += 1
        if not self.blocked:
            self.reasons.insert(0, reason)
        self.blocked += 1

    def answered(self, account: AccountSid) -> None:
        """Something of an account was given: neither is the source away nor the credential refused."""
        self.failures_in_a_row[account] = self.refusals_in_a_row[account] = 0

    def unanswered(self, account: AccountSid, error: SourceError) -> None:
        """One thing that goes unanswered does not stop the others; many in a row mean that nothing is answered.

        Raises:
            SourceUnavailable: this is the last of many of the account.
            AccountRefused: this is the last of many that were refused (403).
        """
        if isinstance(error, SourceForbidden):
            self.refusals_in_a_row[account] += 1
            if self.refusals_in_a_row[account] >= FAILURES_IN_A_ROW:
                raise AccountRefused(
                    f"Twilio refused {FAILURES_IN_A_ROW} requests one after another; see what the key may read. "
                    f"Last: {error}"
                ) from error
        if isinstance(error, SourceUnavailable):
            self.failures_in_a_row[account] += 1
            if self.failures_in_a_row[account] >= FAILURES_IN_A_ROW:
                raise error


@dataclass(slots=True)
class Discovery:
    """What one discovery has seen so far."""

    recordings: int = 0
    settled: int = 0
    outside: int = 0
    seen: set[str] = field(default_factory=set)
    astray: dict[str, date] = field(default_factory=dict)
    """The day that recordings seen in the list of another day claim to be of."""
    lists: dict[tuple[str, date], tuple[int, int]] = field(default_factory=dict)
    """Rows read so far, of the account's list of the day, that are of about that day, and of others."""
    dropped: dict[AccountSid, ExportError] = field(default_factory=dict)
    """Accounts of which nothing more is asked for, and why."""
    listed: dict[AccountSid, datetime] = field(default_factory=dict)
    """Accounts whose list of all that Twilio may still hold was read to its end, and when reading began."""

    def add(self, other: "Discovery") -> None:
        """Count what has been seen of one account alone."""
        self.recordings += other.recordings
        self.settled += other.settled
        self.outside += other.outside
        self.seen |= other.seen
        self.astray |= other.astray
