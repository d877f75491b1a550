"""The command line `addon-export`: stdout is data, stderr is talk and progress, exit codes are a promise.

    0 all asked for is landed and verified      4 what is stored differs, or input is in quarantine
    1 unexpected                                5 Twilio did not give everything; run again
    2 configuration, credentials or a question  6 the warehouse or stdout cannot be written or read
    3 a guard refused to delete                 130 interrupted

Commands import what they need when they run, so that `--help` and `status` do not wait for Dagster.
"""

import argparse
import difflib
import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from assets.cli.accounts import add_accounts_command, show_accounts
from assets.cli.alert import add_alert_command
from assets.cli.compact import add_compact_command
from assets.cli.delete import add_delete_commands
from assets.cli.ending import ExitCode, end_with
from assets.cli.erase import add_erase_command
from assets.cli.export import add_export_command
from assets.cli.process import prepare
from assets.cli.quarantine import add_quarantine_commands
from assets.cli.rebuild import add_rebuild_options, run_rebuild
from assets.cli.seal import run_seal
from assets.cli.sql import add_sql_command, add_tables_command
from assets.cli.ui import add_ui_command
from assets.terminal import say, show
from pipelines.environment import open_env_file
from pipelines.errors import FixConfiguration
from pipelines.records.dates import FIRST_YEAR
from pipelines.settings import environment, settle_time, twilio_settings, warehouse_settings
from pipelines.twilio.open_files import raise_open_files

if TYPE_CHECKING:
    from warehouse.store.archive import Archive


DAYS_SHOWN = 10
"""Incomplete partitions that `status` prints."""


STRANGERS_SHOWN = 5
"""Files of others that `verify` prints."""


LAST_YEAR = 2199
"""Of days that are asked for: times are reckoned for weeks around a day."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    prepare()

    def work() -> int:
        options = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        raise_open_files()
        run: Callable[[argparse.Namespace], int] = options.run
        if (readable := open_env_file()) is not None:
            say(f"Others on this machine may read {readable}, and the credentials in it; run `chmod go-rw` on it.")
        if options.needs_account:
            twilio_settings(environment())
        return run(options)

    end_with(work)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="addon-export",
        description="Export Twilio recording add-on results before Twilio deletes them after 30 days.",
    )

    def show_help(options: argparse.Namespace) -> int:
        show(parser.format_help().rstrip())
        return ExitCode.OK

    parser.set_defaults(run=show_help, needs_account=False)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(
        name: str, text: str, run: Callable[[argparse.Namespace], int] | None = None
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run, needs_account=False)
        return added

    def days(added: argparse.ArgumentParser, *, required: bool = False) -> None:
        for flag, name, text in (("--from", "first", "first UTC day, YYYY-MM-DD"), ("--to", "last", "last, included")):
            added.add_argument(flag, dest=name, type=_date, metavar="DATE", help=text, required=required)

    add_export_command(command("export", "export what can still be had and is not landed, or the days asked for"), days)
    verify = command("verify", "read everything back and compare it with what was received", _verify)
    days(verify)
    verify.add_argument("--json", action="store_true", help="print the result as JSON")
    status = command("status", "what is landed, pending, unfinished, lost; the next deadline", _status)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    add_accounts_command(command("accounts", "whose results are kept here, and who is no longer wanted"))
    add_compact_command(command("compact", "join files: one for each partition and table"))
    command("seal", "verify the archive, and seal its newest commit with EXPORT_SEAL_KEY", run_seal)
    add_rebuild_options(command("rebuild", "build addons.duckdb afresh from the archive", run_rebuild))
    sandbox = command("sandbox", "run a local stand-in for Twilio's API with made-up data", _sandbox)
    sandbox.add_argument("--port", type=int, default=8010, help="port of the API (default 8010)")
    sandbox.add_argument("--recordings", type=int, default=200, help="how many recordings to make up (default 200)")
    delete = command("delete", "delete at Twilio what is proven to be safe here; off unless asked for")
    add_delete_commands(delete, days)
    quarantine = command("quarantine", "what could not be landed as it should: list, show, retry, dismiss")
    add_quarantine_commands(quarantine)
    add_erase_command(command("erase", "erase a recording, a result, or what is too old, here and for good"))
    add_ui_command(command("ui", "open Dagster's UI on this DAGSTER_HOME, with schedules, sensors and alerts"))
    add_sql_command(command("sql", "answer a question in SQL from addons.duckdb; changes nothing, needs no account"))
    add_tables_command(command("tables", "every table, view and column with its meaning, as Markdown"))
    add_alert_command(command("alert", "try the channels that alerts go to"))
    command("demo", "sandbox, export, verify and a few SQL answers; needs no account", _demo)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; takes no abbreviated options, whose meaning a later option would change."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = difflib.get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), n=1)
            meant = f"did you mean {near[0]}" if near else f"there are {found[2].replace(chr(39), '')}"
            option = re.match(r"argument (--[\w-]+)", message)
            message = f"{f'{option[1]}: ' if option else ''}there is no {found[1]!r}, {meant}"
        say(f"{message[0].upper()}{message[1:]}; see `{self.prog} --help`.")
        sys.exit(ExitCode.CONFIGURATION)


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-11-20") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise argparse.ArgumentTypeError(f"{text} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _checked_range(options: argparse.Namespace) -> tuple[date | None, date | None]:
    first, last = options.first, options.last
    if first is not None and last is not None and first > last:
        raise FixConfiguration(f"--from {first} is after --to {last}; swap them.")
    return first, last


def _archive() -> "Archive":
    """What has been exported, for reading: also where nothing may be written, or nothing more would fit."""
    from pipelines.opening import mend_moved, to_read

    settings = warehouse_settings(environment())
    mend_moved(settings)
    return to_read(settings)


def _verify(options: argparse.Namespace) -> int:
    from warehouse.memory import return_freed_memory
    from warehouse.upkeep.verify import verify

    return_freed_memory()
    first, last = _checked_range(options)
    found = verify(_archive(), first=first, last=last)
    if options.json:
        show(
            json.dumps(
                {
                    "commit": found.commit,
                    "published_commit": found.published_commit,
                    "files": found.files,
                    "bytes": found.bytes,
                    "contents": found.contents,
                    "mismatches": [
                        {"kind": m.kind, "subject": m.subject, "sentence": m.sentence} for m in found.mismatches
                    ],
                    "strangers": found.strangers,
                }
            )
        )
    else:
        for mismatch in found.mismatches:
            show(mismatch.sentence)
        if found.published_commit != found.commit:
            show(f"addons.duckdb shows commit {found.published_commit} of {found.commit}; the next export publishes.")
        show(
            f"{found.files} files ({found.bytes:,} bytes) and {found.contents} contents read back: "
            f"{len(found.mismatches) or 'no'} mismatches."
        )
        if found.strangers:
            named = ", ".join(found.strangers[:STRANGERS_SHOWN])
            more = "" if len(found.strangers) <= STRANGERS_SHOWN else "; `verify --json` has them all"
            say(f"{len(found.strangers)} files under EXPORT_ROOT were not made by addon-export: {named}{more}.")
    return ExitCode.MISMATCH if found.mismatches else ExitCode.OK


def _status(options: argparse.Namespace) -> int:
    from pipelines.monitoring.status import status
    from warehouse.store.sharing import WHOSE

    found = status(_archive(), now=datetime.now(UTC), settle=settle_time(environment()))
    off = _switched_off(warehouse_settings(environment()).root)
    if options.json:
        show(json.dumps({**found.as_json(), "switched_off": off}))
        return ExitCode.OK
    show(f"results     {', '.join(f'{count} {state}' for state, count in found.results.items())}")
    show(f"contents    {found.contents} landed, {found.content_bytes:,} bytes")
    show(f"recordings  {found.recordings} known, {found.recordings_to_list} to be listed again")
    show(f"quarantine  {found.quarantined} rows open")
    show(f"commit      {found.commit}, published {found.published_commit}")
    show(f"readable    by {WHOSE[found.shared_read]}")
    days = [day.completeness for day in found.days if day.completeness is not None]
    incomplete = [day for day in days if day.over and not day.complete]
    show(f"partitions  {sum(day.complete for day in days)} complete, {len(incomplete)} not")
    for day in incomplete[:DAYS_SHOWN]:
        show(f"            {day.day}: {' '.join(day.reasons())}")
    if len(incomplete) > DAYS_SHOWN:
        show(f"            and {len(incomplete) - DAYS_SHOWN} more; `status --json` has them all")
    show_accounts(found.accounts)
    read = "never" if found.listed_at is None else f"{found.listed_at:%Y-%m-%d %H:%M} UTC"
    show(f"listed      {read}: when the list of recordings was last read to its end")
    if found.next_deadline is None:
        show("deadline    none: nothing is waiting to be exported")
    else:
        show(f"deadline    {found.next_deadline:%Y-%m-%d %H:%M} UTC, {found.slack_hours} hours left")
    if off:
        show(f"off         {', '.join(off)}: switched off in Dagster, which exports and alerts by itself no more")
    if found.erasure_waits is not None:
        show(f"retention   {found.erasure_waits}")
    if found.clock is not None:
        show(f"clock       of this machine: {found.clock}")
    return ExitCode.OK


def _switched_off(root: Path) -> list[str]:
    """What should run by itself and does not, where Dagster has a history; a history that is no good is said."""
    from assets.runs.home import dagster_home, history_folder, home_errors, opened

    if history_folder(root) is None:
        return []
    from assets.runs.switched_off import switched_off

    try:
        with home_errors(), opened(dagster_home(root)) as instance:
            return switched_off(instance)
    except FixConfiguration as error:
        say(str(error))
        return []


def _sandbox(options: argparse.Namespace) -> int:
    from pipelines.sandbox.run import serve

    serve(port=options.port, recordings=options.recordings)
    return ExitCode.OK


def _demo(options: argparse.Namespace) -> int:
    from assets.cli.demo import demo

    demo()
    return ExitCode.OK
