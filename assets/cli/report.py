"""The command `addon-export report`: a page to look at, for whoever may read what is published; needs no account."""

from datetime import UTC, datetime
from pathlib import Path

import click

from assets.cli.apart import apart
from assets.cli.arguments import Command
from assets.private_file import write_private
from assets.terminal import say, show
from pipelines.errors import FixConfiguration

STDOUT = "-"


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export report
      addon-export report /srv/www/addons.html
      addon-export report - > report.html
    """,
)
@click.argument("file", default="report.html")
def command(file: str) -> int:
    """Write FILE, one page of HTML with charts; - prints it; without FILE it is report.html.

    Days by state with hours left, what expires next, add-ons, exports, quarantine, deletions. It has no word of a
    transcript, asks nobody for anything, and is readable by you alone.
    """
    return apart(lambda: _write(file))


def _write(file: str) -> int:
    # imported in the process of its own, where DuckDB may crash
    from assets.cli.opened import open_to_read
    from assets.report.gather import gather
    from assets.report.page import page
    from pipelines.settings import environment, settle_time

    made = page(gather(open_to_read(), now=datetime.now(UTC), settle=settle_time(environment())))
    if file == STDOUT:
        show(made)
        return 0
    try:
        write_private(Path(file), made)
    except OSError as error:
        raise FixConfiguration(f"The page cannot be written to {file}: {error.strerror}.") from error
    say(f"{file} is written: open it in a browser.")
    return 0
