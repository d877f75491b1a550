"""The plan of a deletion: what would be deleted, why that is safe, and what it is bound to.

Pure. A plan is a value with one canonical JSON form and the SHA-256 over that form, which whoever confirms it repeats.
It names single results, holds for 24 hours, and is bound to one account, one warehouse in one place with one history,
and one destination. `plan_file` says how it is kept and by whom it was made.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from pipelines.delete.gate import Shown, conditions, gate, why_shut
from pipelines.delete.verified import Unverified, VerifiedResult
from pipelines.errors import PlanAgain
from pipelines.records.sids import AccountSid, AddOnResultSid, PayloadSid, RecordingSid
from warehouse.clock import trusted_now

VALID = timedelta(hours=24)
"""How long a plan may be applied."""

FORMAT = 2
"""Raised when the form of a plan changes; a plan of another form is refused."""

DAY = timedelta(hours=23)
"""How long what was deleted counts against the limits of a day: a daily schedule must not meet its own last run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is allowed: by whoever asks for a plan, and, as limits of all plans together, by who carries them out.

    Attributes:
        min_age_hours: rest time since the row and all contents were landed.
        max_delete: most results one plan may name, or a day may see.
        max_share: largest part (0 to 1) of the account's exported, not yet deleted results, of the same.
    """

    min_age_hours: float = 72
    max_delete: int = 500
    max_share: float = 0.2

    def __post_init__(self) -> None:
        """One form for equal numbers: 1 and 1.0 must not hash differently."""
        object.__setattr__(self, "min_age_hours", float(self.min_age_hours))
        object.__setattr__(self, "max_share", float(self.max_share))

    @property
    def min_age(self) -> timedelta:
        """Rest time."""
        return timedelta(hours=self.min_age_hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The one account and warehouse a plan is for.

    Attributes:
        root: folder of the warehouse, links resolved.
        identity: SHA-256 over the place of the archive, which a copy of it does not have.
        destination: what is published.
        commit: newest commit when the plan was made, and the SHA-256 of its file.
        ledger_steps: number of steps in the ledger of deletions then, and the id of the newest.
    """

    account_sid: AccountSid
    root: str
    identity: str
    destination: str
    commit: int
    commit_sha256: str
    ledger_steps: int
    ledger_head: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPayload:
    """A payload that goes with its result: length in bytes, SHA-256 (hex)."""

    sid: PayloadSid
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What showed, when the plan was made, that a result is safe here. Files by path, with their SHA-256."""

    commit: int
    published_commit: int
    rested_since: datetime
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedResult:
    """One add-on result to delete."""

    sid: AddOnResultSid
    recording_sid: RecordingSid
    completed_date: date
    status: str
    date_updated: datetime
    payloads: tuple[PlannedPayload, ...]
    proof: Proof

    def names(self, result: VerifiedResult) -> bool:
        """Whether `result` is exactly what is planned here."""
        return (self.sid, self.recording_sid, self.completed_date, self.status, self.date_updated, self.payloads) == (
            result.sid,
            result.recording_sid,
            result.completed_date,
            result.status,
            result.date_updated,
            _payloads(result),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One landed result of the days asked for that the plan does not name, and every reason.

    `rests_until` is when its rest time ends, None unless that is among the reasons.
    """

    sid: str
    recording_sid: str | None
    completed_date: date | None
    reasons: tuple[str, ...]
    rests_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePlan:
    """What would be deleted. Times are UTC.

    `exported` counts the account's exported, not yet deleted results in the warehouse when the plan was made.
    """

    format: int
    created_at: datetime
    valid_until: datetime
    first: date
    last: date
    binding: Binding
    terms: Terms
    exported: int
    results: tuple[PlannedResult, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the canonical form."""
        return hash_of(msgspec.to_builtins(self))

    @property
    def id(self) -> str:
        """What the plan is called: the beginning of its hash."""
        return self.hash[:ID_LENGTH]

    @property
    def content_bytes(self) -> int:
        """Bytes of all contents that would go at Twilio."""
        return sum(payload.bytes for result in self.results for payload in result.payloads)


ID_LENGTH = 16


def is_plan_id(text: str) -> bool:
    """Whether `text` has the form of a plan's id."""
    return re.fullmatch(f"[0-9a-f]{{{ID_LENGTH}}}", text) is not None


def hash_of(body: Any) -> str:
    """SHA-256 (hex) over the one canonical form: sorted keys, no spaces, ASCII, no NaN."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plan_delete(
    results: Sequence[VerifiedResult],
    shown: Mapping[str, Shown],
    *,
    first: date,
    last: date,
    binding: Binding,
    terms: Terms,
    exported: int,
    now: datetime,
    source_time: datetime | None = None,
    deleted: Collection[str] = (),
    left_out: Sequence[LeftOut] = (),
) -> DeletePlan:
    """Decide what a plan names: of `results`, those for which the gate is open.

    Args:
        results: proven to be whole and safe here.
        shown: what Twilio shows of them.
        first: first partition day asked for.
        last: last partition day asked for.
        binding: what the plan is for.
        terms: what is allowed.
        exported: exported, not yet deleted results of the account in the warehouse.
        now: UTC.
        source_time: Twilio's clock (UTC), None when it is not known.
        deleted: results that were deleted by an earlier plan, or whose earlier DELETE is open and that are not shown.
        left_out: what is not proven, with the reasons.

    Raises:
        PlanAgain: the plan would exceed the terms.
    """
    planned, refused = [], []
    for result in results:
        held = conditions(
            result,
            shown.get(result.sid),
            account=binding.account_sid,
            credential_account=binding.account_sid,
            min_age=terms.min_age,
            now=trusted_now(now, source_time),
            pending=result.sid not in deleted,
            as_planned=True,
        )
        if shut := gate(held):
            reasons = why_shut(shut, result, shown.get(result.sid), account=binding.account_sid)
            refused.append(
                LeftOut(
                    sid=result.sid,
                    recording_sid=result.recording_sid,
                    completed_date=result.completed_date,
                    reasons=reasons,
                    rests_until=result.rested_since + terms.min_age if "rested" in shut else None,
                )
            )
        else:
            planned.append(_planned(result))
    check_budgets(len(planned), exported, terms)
    created_at = now.astimezone(UTC)
    return DeletePlan(
        format=FORMAT,
        created_at=created_at,
        valid_until=created_at + VALID,
        first=first,
        last=last,
        binding=binding,
        terms=terms,
        exported=exported,
        results=tuple(sorted(planned, key=lambda result: (result.completed_date, result.sid))),
        left_out=tuple(sorted((*left_out, *refused), key=lambda result: result.sid)),
    )


def left_out_as_unverified(results: Sequence[Unverified]) -> list[LeftOut]:
    """What is not proven, with the sentence that says why."""
    return [
        LeftOut(sid=r.sid, recording_sid=r.recording_sid, completed_date=r.completed_date, reasons=(r.sentence,))
        for r in results
    ]


def check_budgets(count: int, exported: int, terms: Terms) -> None:
    """Refuse a plan that names more than the terms allow.

    Raises:
        PlanAgain: over budget.
    """
    advice = "name fewer days, or allow more in as many words"
    if count > terms.max_delete:
        raise PlanAgain(f"Over budget: {count} results, and at most {terms.max_delete} may be deleted; {advice}.")
    most = _share_of(exported, terms)
    if count > most:
        raise PlanAgain(
            f"Over budget: {count} results are more than {most}, the share of {terms.max_share:g} of the {exported} "
            f"that are exported and not deleted; {advice}."
        )


def check_terms(terms: Terms, limits: Terms) -> None:
    """Refuse terms that allow more than who carries the plan out does.

    Raises:
        PlanAgain: they do.
    """
    beyond = (
        (
            terms.min_age_hours < limits.min_age_hours,
            f"a rest time of {terms.min_age_hours:g} hours, and EXPORT_DELETE_MIN_AGE_HOURS asks for "
            f"{limits.min_age_hours:g}",
        ),
        (
            terms.max_delete > limits.max_delete,
            f"up to {terms.max_delete} results, and EXPORT_DELETE_MAX allows {limits.max_delete}",
        ),
        (
            terms.max_share > limits.max_share,
            f"a share of {terms.max_share:g}, and EXPORT_DELETE_MAX_SHARE allows {limits.max_share:g}",
        ),
    )
    for is_beyond, sentence in beyond:
        if is_beyond:
            raise PlanAgain(f"The terms are beyond the limits: {sentence}; keep to the limit, or set another one.")


def check_day(count: int, recent: int, exported: int, limits: Terms) -> None:
    """Refuse what would make it too much for a day, by however many plans and runs.

    Args:
        count: results that are to be deleted.
        recent: results for which a DELETE was sent within DAY.
        exported: exported results of the account, without those that were deleted before.
        limits: what is allowed.

    Raises:
        PlanAgain: over budget.
    """
    most = min(limits.max_delete, _share_of(exported, limits))
    if count and recent + count > most:
        raise PlanAgain(
            f"Over budget: {recent} results were deleted within a day and {count} are to be, and EXPORT_DELETE_MAX "
            f"({limits.max_delete}) and EXPORT_DELETE_MAX_SHARE ({limits.max_share:g} of {exported}) allow {most} a "
            "day; name fewer days, wait, or set other limits."
        )


def _share_of(exported: int, terms: Terms) -> int:
    return math.floor(terms.max_share * exported + 1e-9)


def check_age(plan: DeletePlan, *, now: datetime) -> None:
    """Refuse a plan that is not valid at `now`.

    Raises:
        PlanAgain: it is too old, or made in the future.
    """
    if plan.valid_until - plan.created_at != VALID or now < plan.created_at:
        raise PlanAgain(f"The plan says it was made at {plan.created_at:%Y-%m-%d %H:%M} UTC, which cannot be.")
    if now >= plan.valid_until:
        raise PlanAgain(f"The plan is stale: it was valid until {plan.valid_until:%Y-%m-%d %H:%M} UTC.")


def check_binding(plan: DeletePlan, here: Binding) -> None:
    """Refuse a plan that was made for something else.

    `here` holds the commit and the step of the ledger that the plan names, as they are here.

    Raises:
        PlanAgain: another account, warehouse, history or destination.
    """
    differences = (
        ("account_sid", "another account"),
        ("destination", "another destination"),
        ("root", "another warehouse"),
        ("identity", "another warehouse, of which this one is a copy"),
        ("commit_sha256", "another history of the warehouse: the commit it was made on is not here"),
        ("ledger_head", "another history of the warehouse: a step of its deletions is not here"),
    )
    for name, sentence in differences:
        if getattr(plan.binding, name) != getattr(here, name):
            raise PlanAgain(f"The plan was made for {sentence}.")


def _planned(result: VerifiedResult) -> PlannedResult:
    assert result.status is not None
    assert result.date_updated is not None  # the gate was open
    return PlannedResult(
        sid=result.sid,
        recording_sid=result.recording_sid,
        completed_date=result.completed_date,
        status=result.status,
        date_updated=result.date_updated,
        payloads=_payloads(result),
        proof=Proof(
            commit=result.commit,
            published_commit=result.published_commit,
            rested_since=result.rested_since,
            files=dict(result.files),
        ),
    )


def _payloads(result: VerifiedResult) -> tuple[PlannedPayload, ...]:
    return tuple(PlannedPayload(sid=p.sid, bytes=p.length, sha256=p.sha256) for p in result.payloads)
