"""The gate: whether one add-on result may be deleted at Twilio.

Pure. Every condition must hold; there is no way to waive one. What is not known counts as not given: an unread file,
a listing that could not be had or a missing date leaves the gate shut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from types import MappingProxyType

from pipelines.delete.verified import Unverified, VerifiedResult
from pipelines.records.sids import AccountSid

DELETABLE_STATUS = "completed"
"""The one final status whose payloads are what the add-on was run for; others expire by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What must all be true of one add-on result before its DELETE is sent."""

    final: bool
    sealed: bool
    reread: bool
    published: bool
    clean: bool
    rested: bool
    pending: bool
    own_account: bool
    listed: bool
    unchanged: bool
    same_payloads: bool
    as_planned: bool


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "final": f"its status is not {DELETABLE_STATUS}, here or at Twilio",
        "sealed": "its row, payloads and contents are not all in sealed archive files as committed",
        "reread": "a content read back from disk does not have the SHA-256 it had on the wire",
        "published": "the same row, payloads and contents are not shown by addons.duckdb",
        "clean": "it, a payload of it or its recording is in quarantine",
        "rested": "its rest time has not passed, by the clock here and by Twilio's",
        "pending": "it is deleted already, or an earlier DELETE is open, which the next `delete apply` settles",
        "own_account": "it does not belong to the account of the plan and of the credential",
        "listed": "Twilio does not list it, or lists fewer results of its recording than are landed",
        "unchanged": "its date_updated at Twilio is not the one that is landed and planned",
        "same_payloads": "its payloads at Twilio are not exactly those that are landed, as they were fetched",
        "as_planned": "what is landed is not what the plan names",
    }
)
"""Why the gate stays shut, by condition."""


def gate(conditions: Conditions) -> tuple[str, ...]:
    """The conditions that do not hold; the result may be deleted only if there is none."""
    return tuple(field.name for field in fields(Conditions) if getattr(conditions, field.name) is not True)


@dataclass(frozen=True, slots=True)
class Shown:
    """What Twilio shows of one add-on result at this moment. Times are UTC.

    `payloads` maps each listed payload to its `date_updated`; None when the list could not be read whole.
    `beside_all_landed`: the list of its recording could be read whole and holds everything that must still be there.
    """

    account_sid: str | None
    status: str | None
    date_updated: datetime | None
    payloads: Mapping[str, datetime | None] | None
    beside_all_landed: bool


def conditions(
    result: VerifiedResult | Unverified,
    shown: Shown | None,
    *,
    account: AccountSid,
    credential_account: AccountSid | None,
    min_age: timedelta,
    now: datetime | None,
    pending: bool,
    as_planned: bool,
) -> Conditions:
    """What holds of one add-on result.

    Args:
        result: what verification found here.
        shown: what Twilio shows, None when it does not show the result.
        account: the account of the plan.
        credential_account: the account Twilio says the credential is for; None when the credential may not ask.
            Then every result it reads must name the account.
        min_age: rest time since the row and all contents were landed.
        now: UTC, as `warehouse.clock.trusted_now` has it; None: no rest time has passed.
        pending: not deleted yet, and no DELETE is open.
        as_planned: the plan names exactly this.
    """
    failed = result.failed if isinstance(result, Unverified) else frozenset()
    verified = result if isinstance(result, VerifiedResult) else None
    says_account = {account} if credential_account is None else {account, None}
    return Conditions(
        final=verified is not None and shown is not None and verified.status == shown.status == DELETABLE_STATUS,
        sealed="sealed" not in failed,
        reread="reread" not in failed,
        published="published" not in failed,
        clean="clean" not in failed,
        rested=verified is not None and now is not None and verified.rested_since + min_age <= now,
        pending=pending and verified is not None and verified.deleted_at is None,
        own_account=verified is not None
        and verified.account_sid == account
        and credential_account in (None, account)
        and shown is not None
        and shown.account_sid in says_account,
        listed=shown is not None and shown.beside_all_landed,
        unchanged=verified is not None
        and shown is not None
        and verified.date_updated is not None
        and verified.date_updated == shown.date_updated,
        same_payloads=verified is not None and shown is not None and _same_payloads(verified, shown),
        as_planned=as_planned,
    )


def why_shut(
    shut: Sequence[str], result: VerifiedResult | Unverified, shown: Shown | None, *, account: AccountSid
) -> tuple[str, ...]:
    """The reasons why the gate is shut, one sentence each, without those that only follow from another one."""
    if isinstance(result, Unverified):
        return (*_sentences(name for name in shut if name in result.failed), result.sentence)
    if "pending" in shut:
        return _sentences(["pending"])
    if result.account_sid != account:
        return _sentences(["own_account"])
    if shown is None:
        return _sentences(name for name in shut if name in ("listed", "rested", "as_planned"))
    return _sentences(shut)


def _sentences(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{REASONS[name][0].upper()}{REASONS[name][1:]}." for name in names)


def _same_payloads(verified: VerifiedResult, shown: Shown) -> bool:
    """Whether Twilio lists exactly the landed payloads, none changed after its content was fetched."""
    if shown.payloads is None or shown.payloads.keys() != {payload.sid for payload in verified.payloads}:
        return False
    for payload in verified.payloads:
        updated = shown.payloads[payload.sid]
        if updated != payload.date_updated or (updated is not None and updated > payload.fetched_at):
            return False
    return True
