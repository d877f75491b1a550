"""The commands `addon-export quarantine list`, `show`, `retry` and `dismiss`."""

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from assets.cli.opened import open_and_say
from assets.terminal import say, show, show_bytes
from pipelines.errors import FixQuery
from pipelines.settings import environment, warehouse_settings

if TYPE_CHECKING:
    from pipelines.retry import Entry
    from warehouse.store.archive import Archive

SHORT = 12
"""Digits of an id that `list` prints; every command takes the beginning of one."""


def add_quarantine_commands(quarantine: argparse.ArgumentParser) -> None:
    """Give the parser of `quarantine` its commands; none of them needs an account."""
    steps = quarantine.add_subparsers(metavar="list|show|retry|dismiss", required=True)
    text = "what could not be landed as it should, and why; nothing else on stdout"
    listed = steps.add_parser("list", help=text, description=text)
    listed.set_defaults(run=_list, needs_account=False)
    listed.add_argument("--all", action="store_true", help="what is resolved too")
    listed.add_argument("--json", action="store_true", help="print one JSON object for each entry")
    text = "one entry with its bytes, unprintable ones escaped"
    one = steps.add_parser("show", help=text, description=text)
    one.set_defaults(run=_show, needs_account=False)
    one.add_argument("id", help="the id, or its beginning")
    one.add_argument("--raw", action="store_true", help="write nothing but the bytes, exactly as they were received")
    text = "read it again, land what can be read by now, and resolve what is landed; asks Twilio nothing"
    again = steps.add_parser("retry", help=text, description=text)
    again.set_defaults(run=_retry, needs_account=False)
    again.add_argument("id", nargs="*", help="ids, or their beginnings; without any: all that is open")
    text = "land the bytes of these contents as they are: you have looked at them and they are the contents"
    again.add_argument("--as-it-is", action="store_true", help=text)
    text = "say that it need not be landed; it stays in the table, and no longer counts"
    no = steps.add_parser("dismiss", help=text, description=text)
    no.set_defaults(run=_dismiss, needs_account=False)
    no.add_argument("id", nargs="+", help="ids, or their beginnings")
    no.add_argument("--because", required=True, metavar="TEXT", help="why, for whoever asks later")


def _archive(*, writing: bool = False) -> "Archive":
    from pipelines.opening import to_read

    settings = warehouse_settings(environment())
    there = to_read(settings)
    if not writing:
        return there
    return open_and_say(settings)


def _list(options: argparse.Namespace) -> int:
    from pipelines.retry import entries

    found = entries(_archive(), resolved=options.all)
    for entry in found:
        if options.json:
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
    return 0


def _show(options: argparse.Namespace) -> int:
    from pipelines.retry import entries, named, raw

    archive = _archive()
    (entry,) = named(entries(archive, resolved=True), [options.id])
    data = raw(archive, entry)
    if options.raw:
        show_bytes(data or b"")
        return 0
    for name, value in _plain(entry).items():
        show(f"{name:<15} {'' if value is None else value}")
    show(f"{'raw':<15} {'' if data is None else repr(data)[2:-1]}")
    return 0


def _retry(options: argparse.Namespace) -> int:
    from pipelines.retry import entries, named, retry
    from warehouse.published.publish import publish

    if options.as_it_is and not options.id:
        raise FixQuery("--as-it-is needs the ids of the contents that you have looked at; see `quarantine list`.")
    archive, now = _archive(writing=True), datetime.now(UTC)
    found = entries(archive)
    done = retry(archive, named(found, options.id) if options.id else found, now=now, as_it_is=options.as_it_is)
    publish(archive, warehouse_settings(environment()).destination, now=now)
    still = [{"quarantine_id": identity, "reason": reason} for identity, reason in done.still_open.items()]
    show(json.dumps({"resolved": len(done.resolved), "still_open": still, "commit": archive.head().number}))
    if done.resolved:
        say(f"{len(done.resolved)} resolved; the next export fetches what they still lack.")
    for each in still:
        say(f"{each['quarantine_id'][:SHORT]} stays open: {each['reason']}")
    return 4 if still else 0


def _dismiss(options: argparse.Namespace) -> int:
    from pipelines.retry import dismiss, entries, named
    from warehouse.published.publish import publish

    archive, now = _archive(writing=True), datetime.now(UTC)
    chosen = named(entries(archive), options.id)
    dismiss(archive, chosen, options.because, now=now)
    publish(archive, warehouse_settings(environment()).destination, now=now)
    show(json.dumps({"dismissed": len(chosen), "commit": archive.head().number}))
    return 0


def _plain(entry: "Entry") -> dict[str, object]:
    facts = {name: getattr(entry, name) for name in entry.__slots__}
    return {**facts, "quarantined_at": entry.quarantined_at.isoformat()}
