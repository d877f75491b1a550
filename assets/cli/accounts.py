"""`addon-export accounts`: whose results the archive is for, and who is no longer wanted. Needs no credentials."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assets.terminal import say, show
from pipelines.accounts.account import STATES
from pipelines.errors import FixConfiguration
from pipelines.records.sids import account_sid
from pipelines.settings import environment, settle_time, warehouse_settings

if TYPE_CHECKING:
    from pipelines.monitoring.status import AccountStatus
    from warehouse.store.archive import Archive

SHOWN = 10
"""Accounts that `status` prints of those of which there is something to say."""


def add_accounts_command(command: argparse.ArgumentParser) -> None:
    """Options of the command."""
    command.add_argument("--json", action="store_true", help="print the accounts as JSON")
    command.add_argument(
        "--drop", metavar="AC...", help="this account is no longer wanted: nothing waits for it any more"
    )
    command.set_defaults(run=_accounts)


def _accounts(options: argparse.Namespace) -> int:
    from pipelines.monitoring.status import status
    from pipelines.opening import to_read, to_write

    settings = warehouse_settings(environment())
    archive = to_read(settings)
    if options.drop is not None:
        say(_drop(to_write(settings), options.drop))
    found = status(archive, now=datetime.now(UTC), settle=settle_time(environment())).accounts
    if options.json:
        show(json.dumps([each.as_json() for each in found]))
        return 0
    for each in found:
        show(_line(each))
    return 0


def _drop(archive: "Archive", text: str) -> str:
    from pipelines.accounts.wanted import drop

    try:
        account = drop(archive, account_sid(text))
    except ValueError as reason:
        raise FixConfiguration(f"--drop: {reason}.") from None
    return (
        f"Account {account.label} is no longer wanted; what is landed of it stays. An export that names it takes it up."
    )


def show_accounts(accounts: Sequence["AccountStatus"]) -> None:
    """What `status` says: how many there are, and those of which there is something to say."""
    if not accounts:
        return
    counts = {words: sum(each.account.state == state for each in accounts) for state, words in STATES.items()}
    show(f"accounts    {', '.join(f'{count} {words}' for words, count in counts.items() if count)}")
    special = [each for each in accounts if each.account.trouble or not each.account.wanted]
    for each in special[:SHOWN]:
        show(f"            {_line(each)}")
    if len(special) > SHOWN:
        show(f"            and {len(special) - SHOWN} more; `addon-export accounts` has them all")


def _line(each: "AccountStatus") -> str:
    account = each.account
    listed = "never listed to the end" if each.listed_at is None else f"last listed {each.listed_at:%Y-%m-%d %H:%M} UTC"
    parts = [f"{account.label}: {STATES[account.state]}, {listed}"]
    if each.unexported:
        parts.append(f"{each.unexported} results are not exported and can no longer be had")
    if account.trouble:
        parts.append(f"at the last export: {account.trouble}")
    return "; ".join(parts)
