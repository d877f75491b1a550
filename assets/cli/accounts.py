"""The command `addon-export accounts`: whose results the archive is for, and who is no longer wanted."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from assets.cli.arguments import Command
from assets.terminal import say, show
from pipelines.accounts.account import STATES
from pipelines.accounts.wanted import drop
from pipelines.errors import FixConfiguration
from pipelines.monitoring.status import AccountStatus, status
from pipelines.opening import to_read, to_write
from pipelines.records.sids import account_sid
from pipelines.settings import environment, settle_time, warehouse_settings
from warehouse.store.archive import Archive

SHOWN = 10
"""Accounts that `status` prints of those of which there is something to say."""


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the accounts as JSON.")
@click.option("--drop", "dropped", metavar="AC...", help="This account is no longer wanted: nothing waits for it.")
def command(as_json: bool, dropped: str | None) -> None:
    """Say whose results are kept here, and who is no longer wanted; needs no credentials."""
    settings = warehouse_settings(environment())
    archive = to_read(settings)
    if dropped is not None:
        say(_drop(to_write(settings), dropped))
    found = status(archive, now=datetime.now(UTC), settle=settle_time(environment())).accounts
    for line in [json.dumps([each.as_json() for each in found])] if as_json else map(_line, found):
        show(line)


def _drop(archive: Archive, text: str) -> str:
    try:
        account = drop(archive, account_sid(text))
    except ValueError as reason:
        raise FixConfiguration(f"--drop: {reason}.") from None
    return (
        f"Account {account.label} is no longer wanted; what is landed of it stays. An export that names it takes it up."
    )


def account_lines(accounts: Sequence[AccountStatus]) -> list[str]:
    """What `status` says: how many there are, and those of which there is something to say."""
    if not accounts:
        return []
    counts = {words: sum(each.account.state == state for each in accounts) for state, words in STATES.items()}
    special = [each for each in accounts if each.account.trouble or not each.account.wanted]
    more = len(special) - SHOWN
    return [
        f"accounts    {', '.join(f'{count} {words}' for words, count in counts.items() if count)}",
        *(f"            {_line(each)}" for each in special[:SHOWN]),
        *([f"            and {more} more; `addon-export accounts` has them all"] if more > 0 else []),
    ]


def _line(each: AccountStatus) -> str:
    account = each.account
    listed = "never listed to the end" if each.listed_at is None else f"last listed {each.listed_at:%Y-%m-%d %H:%M} UTC"
    parts = [f"{account.label}: {STATES[account.state]}, {listed}"]
    if each.unexported:
        parts.append(f"{each.unexported} results are not exported and can no longer be had")
    if account.trouble:
        parts.append(f"at the last export: {account.trouble}")
    return "; ".join(parts)
