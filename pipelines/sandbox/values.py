"""The rows of the made-up source: accounts, API keys, recordings, add-on results, payloads.

Each row says when things happen to it; what it looks like at one instant is a pure function of that
instant (`at(now)`), so that a test or a demo moves time by naming another one. All times are
timezone-aware; whole seconds, since the wire carries no fractions. No I/O, no randomness, no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

RETENTION = timedelta(days=30)
"""How long an add-on result, with its payloads, is shown after its `date_created`."""

SOFT_DELETED = timedelta(days=40)
"""How long a deleted recording is still listed with `IncludeSoftDeleted=true`."""

Status = Literal["init", "queued", "in-progress", "processing", "completed", "failed", "canceled", "deleted"]
FINAL: tuple[Status, ...] = ("completed", "failed", "canceled", "deleted")

Overrides = Mapping[str, object]
"""JSON members that replace what the row would show: nulls, unknown words, wrong dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account; a subaccount has another account's SID as `owner_account_sid`."""

    sid: str
    auth_token: str
    owner_account_sid: str
    friendly_name: str
    date_created: datetime
    status: Literal["active", "suspended", "closed"] = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential of one account. Only a `main` key may read Accounts; one that may not delete gets 403."""

    sid: str
    secret: str
    account_sid: str
    main: bool = False
    may_delete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One call recording. In progress until `date_created` + `duration`, then has its `final_status`."""

    sid: str
    account_sid: str
    call_sid: str
    date_created: datetime
    conference_sid: str | None = None
    duration: timedelta = timedelta(0)
    channels: int = 1
    source: str = "OutboundAPI"
    final_status: str = "completed"
    error_code: int | None = None
    deleted_at: datetime | None = None
    overrides: Overrides = field(default_factory=dict)

    def status(self, now: datetime) -> str:
        """Twilio's status word at `now`."""
        if self.deleted_at is not None and self.deleted_at <= now:
            return "deleted"
        return self.final_status if now >= self.date_created + self.duration else "in-progress"

    def date_updated(self, now: datetime) -> datetime:
        """When the row last changed, as of `now`."""
        moments = (self.date_created, self.date_created + self.duration, self.deleted_at)
        return max(moment for moment in moments if moment is not None and moment <= now)

    def shown(self, now: datetime, *, include_soft_deleted: bool) -> bool:
        """Whether the source lists it at `now`."""
        if now < self.date_created:
            return False
        if self.deleted_at is None or now < self.deleted_at:
            return True
        return include_soft_deleted and now < self.deleted_at + SOFT_DELETED


@dataclass(frozen=True, slots=True)
class Step:
    """From `at` on the result has this status."""

    at: datetime
    status: Status


@dataclass(frozen=True, slots=True)
class ResultState:
    """What changes about a result as time passes."""

    status: Status
    date_updated: datetime
    date_completed: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One add-on result: its `steps` in time order, the first at `date_created`.

    `date_completed` is null on the wire until that instant; None keeps it null for ever.
    `touched_at` moves `date_updated` without changing anything else.
    """

    sid: str
    account_sid: str
    reference_sid: str
    add_on_sid: str
    add_on_configuration_sid: str
    steps: tuple[Step, ...]
    date_completed: datetime | None
    touched_at: datetime | None = None
    deleted_at: datetime | None = None
    overrides: Overrides = field(default_factory=dict)

    @property
    def date_created(self) -> datetime:
        """When the first step happened."""
        return self.steps[0].at

    def at(self, now: datetime) -> ResultState:
        """Status and dates as the source shows them at `now`, which is not before `date_created`."""
        step = next(step for step in reversed(self.steps) if step.at <= now)
        updated = step.at
        if self.touched_at is not None and updated < self.touched_at <= now:
            updated = self.touched_at
        completed = self.date_completed if self.date_completed and self.date_completed <= now else None
        return ResultState(step.status, updated, completed)

    def shown(self, now: datetime) -> bool:
        """Whether the source lists it at `now`: created, not deleted, not older than `RETENTION`."""
        created = self.steps[0].at
        deleted = self.deleted_at is not None and self.deleted_at <= now
        return created <= now < created + RETENTION and not deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One payload of a result, with its content's exact bytes."""

    sid: str
    add_on_result_sid: str
    label: str
    content_type: str
    content: bytes = field(repr=False)
    date_created: datetime
    date_updated: datetime
    deleted_at: datetime | None = None
    overrides: Overrides = field(default_factory=dict)

    def shown(self, now: datetime) -> bool:
        """Whether it exists at `now`, as far as it alone decides: its result must be shown too."""
        return self.date_created <= now and (self.deleted_at is None or now < self.deleted_at)


def steps_to(outcome: Status | None, *, start: datetime, end: datetime) -> tuple[Step, ...]:
    """init, queued, in-progress, processing spread from `start` to `end`, then `outcome` (None: never)."""
    span = end - start
    words: tuple[Status, ...] = ("init", "queued", "in-progress", "processing")
    moments = [start + timedelta(seconds=int(span.total_seconds() * share)) for share in (0, 0.1, 0.3, 0.6)]
    steps = tuple(Step(at, status) for at, status in zip(moments, words, strict=True))
    return steps if outcome is None else (*steps, Step(end, outcome))
