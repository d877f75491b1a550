"""Which accounts an export is for: what the settings name, and what Twilio's list of accounts says of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipelines.accounts.account import Account, Configured, shown_name
from pipelines.errors import SourceError
from pipelines.records.sids import AccountSid, account_sid
from pipelines.settings import TwilioSettings
from pipelines.twilio.client import Subaccount, TwilioClient


@dataclass(frozen=True, slots=True)
class Directory:
    """The accounts to export; `configured` are these and those that have ended.

    `whole`: nothing that is wanted may be missing, so that an account that is not named is not wanted.
    """

    wanted: tuple[AccountSid, ...]
    configured: tuple[Configured, ...]
    whole: bool
    at: datetime | None
    """Twilio's time (UTC), if it had to be asked."""


async def read_directory(
    client: TwilioClient, settings: TwilioSettings, known: Mapping[str, Account], lacking: Callable[[str], None]
) -> Directory:
    """Read which accounts are wanted, the main account first.

    Args:
        client: of the main account, for this alone: what it is refused says nothing of recordings.
        settings: which accounts are asked for.
        known: the accounts of the archive.
        lacking: told why accounts are not named, where that keeps some from being exported.

    A list that cannot be read costs no account that is known or named, and stops none.
    """
    main, wished = settings.account_sid, settings.subaccounts
    if wished == "none":
        name = await _own_name(client, known.get(main))
        return Directory((main,), (Configured(main, name),), True, client.source_time())
    listed, whole = await _listed(client, lacking if wished == "all" else lambda _: None)
    named = [sid for sid in listed if sid != main] if wished == "all" else [sid for sid in wished if sid != main]
    if wished == "all":
        ours = [account for account in known.values() if account.wanted and account.main == main]
        for sid in (account_sid(account.sid) for account in ours if account.sid not in {main, *listed}):
            # one that was closed is listed for a month: who is listed no more may be gone, or the list is short
            status = await client.account_status(sid) if whole else None
            listed[sid] = Subaccount(sid, status)
            named.append(sid)
        if not whole:
            named += [sid for sid in settings.subaccount_logins if sid not in {main, *named}]
    configured = [Configured(main, shown_name(listed[main].name) if main in listed else "")]
    for sid in dict.fromkeys(named):
        account = listed.get(sid)
        seen = Configured(sid) if account is None else Configured(sid, shown_name(account.name), account.status)
        if seen.state == "wanted" or sid in known:
            configured.append(seen)
    wanted = tuple(account_sid(seen.sid) for seen in configured if seen.state == "wanted")
    return Directory(wanted, tuple(configured), whole or wished != "all", client.source_time())


async def _listed(client: TwilioClient, lacking: Callable[[str], None]) -> tuple[dict[AccountSid, Subaccount], bool]:
    """The accounts that Twilio lists, and whether all could be read. A bad row costs what it names and no others."""
    found: dict[AccountSid, Subaccount] = {}
    whole = True

    def missing(reason: object) -> None:
        nonlocal whole
        whole = False
        lacking(str(reason))

    try:
        async for account in client.accounts(skipped=missing):
            found[account.sid] = account
    except SourceError as error:
        missing(error)
    return found, whole


async def _own_name(client: TwilioClient, account: Account | None) -> str:
    """The main account's friendly name, asked for once; a key that may not read accounts is not told."""
    if account is not None and account.main is not None:
        return account.name
    try:
        found = await client.account()
    except SourceError:
        return ""
    return "" if found is None else shown_name(found.name)
