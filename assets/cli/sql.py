"""The command `addon-export sql`: for analysts, who need no account at Twilio."""

import sys
from pathlib import Path

import click

from assets.cli.apart import apart
from assets.cli.arguments import Command
from assets.cli.questions import EXAMPLES
from assets.terminal import show
from pipelines.errors import FixQuery


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export sql "SELECT state, count(*) FROM retention GROUP BY state"
      addon-export sql --examples
      addon-export sql --example 4 --format csv
      addon-export sql - < question.sql
      addon-export sql "FROM turns" --format parquet --out turns.parquet
    """,
)
@click.argument("query", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "markdown", "parquet"]),
    default="table",
    show_default=True,
    help="How to print; parquet needs --out.",
)
@click.option("--out", metavar="FILE", help="Write the answer to this new file, readable by you alone.")
@click.option("--overwrite", is_flag=True, help="With --out: replace a file that is there.")
@click.option("--examples", is_flag=True, help="Print questions that are often asked, with their SQL.")
@click.option("--example", type=int, metavar="N", help="Answer the example with this number.")
def command(query: str | None, form: str, out: str | None, overwrite: bool, examples: bool, example: int | None) -> int:
    """Answer a QUERY, one SELECT, from addons.duckdb; - reads it from standard input.

    Changes nothing, and needs no account.
    """
    if (query is not None) + examples + (example is not None) != 1:
        raise FixQuery("Give a query, or --examples, or --example N; see `addon-export sql --help`.")
    if out is None and (form == "parquet" or overwrite):
        raise FixQuery("Say with --out which file to write.")
    if examples:
        for number, question in enumerate(EXAMPLES, 1):
            show(f"-- {number}. {question.text}\n{question.sql};\n")
        return 0
    if example is not None and not 1 <= example <= len(EXAMPLES):
        raise FixQuery(f"There is no example {example}; there are 1 to {len(EXAMPLES)}.")
    asked = EXAMPLES[example - 1].sql if example is not None else sys.stdin.read() if query == "-" else query or ""
    return apart(lambda: _answer(asked, form, None if out is None else Path(out), overwrite=overwrite))


def _answer(query: str, form: str, out: Path | None, *, overwrite: bool) -> int:
    """Print the answer, or write it."""
    # DuckDB is imported in the process of its own, and may crash there
    from assets.cli.answer import print_answer, write_answer

    if out is None:
        print_answer(query, form)
    else:
        write_answer(query, form, out, replace=overwrite)
    return 0
