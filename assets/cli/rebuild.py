"""The command `addon-export rebuild`, of `addons.duckdb`, and with --archive of damaged archive files first."""

import json
from datetime import UTC, datetime

import click

from assets.cli.arguments import Command
from assets.cli.opened import open_and_say
from assets.progress_line import progress_line
from assets.terminal import say, show
from pipelines.settings import environment, warehouse_settings
from warehouse.memory import return_freed_memory
from warehouse.published.publish import publish
from warehouse.store.names import PUBLISHED
from warehouse.upkeep.derive import derive_again
from warehouse.upkeep.repair import repair


@click.command(cls=Command)
@click.option(
    "--archive",
    "repairs",
    is_flag=True,
    help="First repair damaged or missing archive files, as far as there is a copy; damaged ones are set aside.",
)
def command(repairs: bool) -> int:
    """Build addons.duckdb afresh from the archive; exit code 4 when something of the archive is not as it was."""
    return_freed_memory()
    settings = warehouse_settings(environment())
    archive = open_and_say(settings)
    code = 0
    if repairs:
        done = repair(archive, now=datetime.now(UTC))
        facts = ("commit", "restored", "again", "gone", "aside", "left")
        show(json.dumps({name: getattr(done, name) for name in facts}))
        for path in done.left:
            say(f"{path} is damaged and there is no copy that can be trusted; restore it from a backup.")
        if done.again or done.gone:
            say("Not everything could be restored; run `addon-export export` to fetch what Twilio still has.")
        if "erasures" in done.gone:
            say("What was erased is no longer known for all of it: erase it again before the next export.")
        code = 4 if done.again or done.gone or done.left else 0
        if done.left:
            return code
    days = (0, 0)

    def look(done: int, of: int) -> None:
        nonlocal days
        days = (of, done)

    with progress_line("days", lambda: (*days, "looked through")):
        count = derive_again(archive, now=datetime.now(UTC), run_id="rebuild", thorough=True, progress=look)
    if count:
        say(f"What {count} contents say was derived again.")
    shown = publish(archive, settings.destination, now=datetime.now(UTC), afresh=True)
    say(f"{PUBLISHED} is built afresh from commit {shown.commit}.")
    return code
