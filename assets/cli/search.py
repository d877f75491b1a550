"""The command `addon-export search`: for analysts, who need no account at Twilio."""

from datetime import date

import click

from assets.cli.apart import apart
from assets.cli.arguments import Command, check_order, days, whole_number
from pipelines.errors import FixQuery

MOST = 1_000_000

TABLE = """
SELECT call_sid AS call, strftime(start_time, '%Y-%m-%d %H:%M') AS started,
    format('{}:{:02d}', floor(start_seconds / 60)::BIGINT, (floor(start_seconds) % 60)::BIGINT) AS at,
    coalesce(speaker, channel) AS speaker, around AS words, array_to_string(heard_by, ', ') AS heard_by
"""
"""What people are shown; programs get every column."""


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export search "money back"
      addon-export search refund --from 2026-11-01 --vendor ibm_watson
      addon-export search "cancel my order" --format json
    """,
)
@click.argument("phrase")
@days()
@click.option("--vendor", help="Transcripts of this vendor alone.")
@click.option("--speaker", help="What this speaker, or channel, says, as the vendor names it.")
@click.option(
    "--limit",
    type=whole_number(f"a number of recordings, 1 to {MOST}", most=MOST),
    default="20",
    show_default=True,
    metavar="N",
    help="Recordings that are shown.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
def command(
    phrase: str,
    first: date | None,
    last: date | None,
    vendor: str | None,
    speaker: str | None,
    limit: int,
    form: str,
) -> int:
    """Say in which calls a PHRASE was said, when, by whom, and the words around it.

    First come the recordings in which the most vendors heard it. --from and --to are days on which results completed.
    """
    check_order(first, last)
    if not phrase.strip():
        raise FixQuery("Give a word or more to search for.")
    return apart(lambda: _answer(_question(phrase, first, last, vendor, speaker, limit, form), form))


def _question(
    phrase: str, first: date | None, last: date | None, vendor: str | None, speaker: str | None, limit: int, form: str
) -> str:
    """The same in SQL."""
    from warehouse.schema import quote  # loads Arrow, as all that is asked of DuckDB does: in the process of its own

    given = {"first_day": first, "last_day": last, "by_vendor": vendor, "by_speaker": speaker}
    named = [f"{name} := {quote(str(value))}" for name, value in given.items() if value is not None]
    arguments = ", ".join([quote(phrase), *named, f"most := {limit}"])
    return f"{TABLE if form == 'table' else 'SELECT *'} FROM search({arguments}) ORDER BY rank, position"


def _answer(query: str, form: str) -> int:
    from assets.cli.answer import print_answer  # DuckDB is imported in the process of its own, and may crash there

    print_answer(query, form)
    return 0
