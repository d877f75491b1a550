"""The commands `addon-export quarantine list`, `show`, `retry` and `dismiss`; none of them needs an account."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from assets.cli.arguments import Group
from assets.cli.opened import open_and_say
from assets.terminal import say, show, show_bytes
from pipelines import retry as quarantined
from pipelines.errors import FixQuery
from pipelines.opening import to_read
from pipelines.settings import environment, warehouse_settings
from warehouse.published.publish import publish
from warehouse.store.archive import Archive

SHORT = 12
"""Digits of an id that `list` prints; every command takes the beginning of one."""


@click.group(
    cls=Group,
    epilog="""
    Examples:
      addon-export quarantine list
      addon-export quarantine show 1f0c
      addon-export quarantine retry
      addon-export quarantine dismiss 1f0c --because "a test of ours"
    """,
)
def command() -> None:
    """See to what could not be landed as it should."""


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="What is resolved too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each entry.")
def list_entries(everything: bool, as_json: bool) -> None:
    """Print what could not be landed as it should, and why."""
    found = quarantined.entries(_archive(), resolved=everything)
    for entry in found:
        if as_json:
            show(json.dumps({**_plain(entry)}))
            continue
        subject = entry.sid or f"under {entry.parent_sid or entry.account_sid}"
        state = f" [{entry.how}]" if entry.how else ""
        line = (
            f"{entry.quarantine_id[:SHORT]}  {entry.quarantined_at:%Y-%m-%d %H:%M}  {entry.kind} {subject}: "
            f"{entry.reason}{state}"
        )
        show(" ".join(line.splitlines()))
    opened = sum(entry.how is None for entry in found)
    say(f"{opened} open. `addon-export quarantine retry` reads them again; `show ID` has the bytes.")


@command.command("show")
@click.argument("identity", metavar="ID")
@click.option("--raw", is_flag=True, help="Write nothing but the bytes, exactly as they were received.")
def show_entry(identity: str, raw: bool) -> None:
    """Print an entry with its bytes, unprintable ones escaped.

    An ID may be shortened.
    """
    archive = _archive()
    (entry,) = quarantined.named(quarantined.entries(archive, resolved=True), [identity])
    data = quarantined.raw(archive, entry)
    if raw:
        show_bytes(data or b"")
        return
    for name, value in _plain(entry).items():
        show(f"{name:<15} {'' if value is None else value}")
    show(f"{'raw':<15} {'' if data is None else repr(data)[2:-1]}")


@command.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--as-it-is",
    is_flag=True,
    help="Land the bytes of these contents as they are: you have looked at them and they are the contents.",
)
def retry(ids: Sequence[str], as_it_is: bool) -> int:
    """Read entries again, and land what can be read by now.

    An ID may be shortened; without any, all that is open is read. Twilio is asked nothing.
    """
    if as_it_is and not ids:
        raise FixQuery("--as-it-is needs the ids of the contents that you have looked at; see `quarantine list`.")
    archive, now = _archive(writing=True), datetime.now(UTC)
    found = quarantined.entries(archive)
    done = quarantined.retry(archive, quarantined.named(found, ids) if ids else found, now=now, as_it_is=as_it_is)
    publish(archive, warehouse_settings(environment()).destination, now=now)
    still = [{"quarantine_id": identity, "reason": reason} for identity, reason in done.still_open.items()]
    show(json.dumps({"resolved": len(done.resolved), "still_open": still, "commit": archive.head().number}))
    if done.resolved:
        say(f"{len(done.resolved)} resolved; the next export fetches what they still lack.")
    for each in still:
        say(f"{each['quarantine_id'][:SHORT]} stays open: {each['reason']}")
    return 4 if still else 0


@command.command("dismiss")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--because", required=True, metavar="TEXT", help="Why, for whoever asks later.")
def dismiss(ids: Sequence[str], because: str) -> None:
    """Say that entries need not be landed.

    They stay in the table, and no longer count. An ID may be shortened.
    """
    archive, now = _archive(writing=True), datetime.now(UTC)
    chosen = quarantined.named(quarantined.entries(archive), ids)
    quarantined.dismiss(archive, chosen, because, now=now)
    publish(archive, warehouse_settings(environment()).destination, now=now)
    show(json.dumps({"dismissed": len(chosen), "commit": archive.head().number}))


def _archive(*, writing: bool = False) -> Archive:
    settings = warehouse_settings(environment())
    there = to_read(settings)
    return open_and_say(settings) if writing else there


def _plain(entry: quarantined.Entry) -> dict[str, object]:
    facts = {name: getattr(entry, name) for name in entry.__slots__}
    return {**facts, "quarantined_at": entry.quarantined_at.isoformat()}
