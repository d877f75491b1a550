"""The accounts that an archive is for: which are wanted, and when those that are not any more were last listed.

Pure. What has been exported once is no reason to ask for it for ever: an account that is closed or suspended at Twilio,
or that nobody wants any more, ends with its last whole listing. One that merely fails stays wanted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, cast

from pipelines.errors import FixConfiguration
from warehouse.states import RETENTION

State = Literal["wanted", "closed", "suspended", "unwanted"]

STATES: Mapping[State, str] = MappingProxyType(
    {
        "wanted": "wanted",
        "closed": "closed at Twilio",
        "suspended": "suspended at Twilio",
        "unwanted": "no longer wanted",
    }
)
"""What an account can be, in words."""

LONGEST_NAME = 64
"""Letters of a friendly name that are shown: it may be any text."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the archive; times are UTC.

    Attributes:
        sid: AC...
        state: "wanted", "closed" or "suspended" at Twilio, or "unwanted": left out of the settings, or dropped.
        name: its friendly name at Twilio, fit to be shown; empty when it is not known.
        main: the main account whose export names it; None when that is not known.
        since: when it was first wanted.
        until: when it was last listed to the end, once it is not wanted; None if it never was.
        trouble: why nothing (more) could be had of it at the last export; empty if there was no trouble.
    """

    sid: str
    state: State = "wanted"
    name: str = ""
    main: str | None = None
    since: datetime = _LONG_AGO
    until: datetime | None = None
    trouble: str = ""

    @property
    def wanted(self) -> bool:
        """Whether it is to be exported."""
        return self.state == "wanted"

    @property
    def label(self) -> str:
        """SID and friendly name."""
        return f"{self.sid} ({self.name})" if self.name else self.sid

    def counts_for(self, end: datetime) -> bool:
        """Whether a day that ended at `end` waits for this account: it could have been asked for what was made then."""
        if end <= self.since - RETENTION:
            return False
        return self.wanted or (self.until is not None and end <= self.until)


@dataclass(frozen=True, slots=True)
class Configured:
    """An account that the settings of an export name, and what Twilio says of it."""

    sid: str
    name: str = ""
    status: str | None = None

    @property
    def state(self) -> State:
        """What it is to the archive; a status that nobody knows is no reason to leave an account out."""
        return cast("State", self.status) if self.status in ("closed", "suspended") else "wanted"


def shown_name(text: str | None) -> str:
    """A friendly name that can be put into a sentence: one line, no control characters, not long."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text or "").split())
    return plain if len(plain) <= LONGEST_NAME else f"{plain[:LONGEST_NAME]}..."


def accounts_of(kept: Mapping[str, Mapping[str, object]], first_listed: Mapping[str, datetime]) -> dict[str, Account]:
    """The accounts of an archive: those that its marker keeps, and those that were listed before it kept any."""
    found = {sid: Account(sid, since=at) for sid, at in first_listed.items()}
    for sid, facts in kept.items():
        account = _read(sid, facts)
        # what was listed was wanted: a clock that was ahead when it was kept must not hide that
        found[sid] = replace(account, since=min(account.since, first_listed.get(sid, account.since)))
    return found


def kept_form(account: Account, facts: Mapping[str, object]) -> Mapping[str, object]:
    """An account as a marker keeps it, over the members of it that this version does not know."""
    return {
        **facts,
        "friendly_name": account.name,
        "state": account.state,
        "main": account.main,
        "since": account.since.isoformat(),
        "until": None if account.until is None else account.until.isoformat(),
        "trouble": account.trouble,
    }


def admit(main: str, known: Mapping[str, Account], *, added: str, root: object) -> None:
    """Let an export of `main` into a root, if the root is for it, for nobody yet, or `added` says that it is meant.

    Raises:
        FixConfiguration: the root belongs to other accounts.
    """
    if not known or main in known or added == main:
        return
    mains = {account.main for account in known.values()}
    shown = [account.label for account in known.values() if account.sid in mains] or [
        account.label for account in known.values()
    ]
    more = f" and {len(known) - 1} more" if len(known) > 1 else ""
    raise FixConfiguration(
        f"EXPORT_ROOT {root} belongs to account {shown[0]}{more}, and not to {main}: choose another folder or, if both "
        f"are to be kept there, export once with `--add-account` (or EXPORT_ADD_ACCOUNT={main})."
    )


def settled(
    known: Mapping[str, Account],
    configured: Collection[Configured],
    *,
    main: str,
    whole: bool,
    last_listed: Mapping[str, datetime],
    now: datetime,
) -> dict[str, Account]:
    """The accounts once an export of `main` has been configured.

    Args:
        known: the accounts of the archive so far.
        configured: the accounts that the export's settings name, and those of its list that are not active.
        main: the account in TWILIO_ACCOUNT_SID; accounts that another main account's export names are left alone.
        whole: whether the settings, and the list at Twilio where it was needed, name all that is wanted.
        last_listed: when an account was last listed to the end.
        now: UTC.
    """
    after = dict(known)
    for seen in configured:
        before = known.get(seen.sid) or Account(seen.sid, since=now)
        account = replace(before, state=seen.state, main=main, name=seen.name or before.name, until=None)
        after[seen.sid] = account if account.wanted else _ended(account, before, last_listed)
    named = {seen.sid for seen in configured}
    for sid, account in known.items():
        if whole and sid not in named and account.wanted and account.main in (main, None):
            after[sid] = _ended(replace(account, state="unwanted"), account, last_listed)
    return after


def dropped(account: Account, last_listed: Mapping[str, datetime]) -> Account:
    """An account that somebody has said is no longer wanted."""
    return _ended(replace(account, state="unwanted"), account, last_listed)


def news(before: Mapping[str, Account], after: Mapping[str, Account]) -> list[str]:
    """What has become of accounts that are not wanted any more, a sentence each."""
    return [
        f"Account {account.label} is {STATES[account.state]}: it is not exported any more"
        + (f", and was last listed at {account.until:%Y-%m-%d %H:%M} UTC." if account.until else ".")
        for sid, account in after.items()
        if not account.wanted and sid in before and before[sid].wanted
    ]


def _ended(account: Account, before: Account, last_listed: Mapping[str, datetime]) -> Account:
    return replace(account, until=before.until or last_listed.get(account.sid), trouble="")


def _read(sid: str, facts: Mapping[str, object]) -> Account:
    state, main = facts.get("state"), facts.get("main")
    return Account(
        sid,
        cast("State", state) if state in STATES else "wanted",
        shown_name(str(facts.get("friendly_name") or "")),
        main if isinstance(main, str) else None,
        _moment(facts.get("since")) or _LONG_AGO,
        _moment(facts.get("until")),
        str(facts.get("trouble") or ""),
    )


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None
