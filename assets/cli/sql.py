"""The commands `addon-export sql` and `tables`: for analysts, who need no account at Twilio."""

import argparse
import sys

from assets.cli.apart import apart
from assets.terminal import show
from pipelines.errors import FixQuery
from pipelines.settings import environment, warehouse_settings


def add_sql_command(sql: argparse.ArgumentParser) -> None:
    """Give the parser of `sql` its arguments."""
    sql.set_defaults(run=_sql, needs_account=False)
    sql.add_argument("query", nargs="?", help="one SELECT; - reads it from standard input")
    sql.add_argument("--format", choices=("table", "csv", "json"), default="table", help="how to print (default table)")
    sql.add_argument("--examples", action="store_true", help="print questions that are often asked, with their SQL")
    sql.add_argument("--example", type=int, metavar="N", help="answer the example with this number")


def add_tables_command(tables: argparse.ArgumentParser) -> None:
    """Let the parser of `tables` run it."""
    tables.set_defaults(run=_tables, needs_account=False)


def _sql(options: argparse.Namespace) -> int:
    from assets.cli.questions import EXAMPLES

    if (options.query is not None) + options.examples + (options.example is not None) != 1:
        raise FixQuery("Give a query, or --examples, or --example N; see `addon-export sql --help`.")
    if options.examples:
        for number, question in enumerate(EXAMPLES, 1):
            show(f"-- {number}. {question.text}\n{question.sql};\n")
        return 0
    query = sys.stdin.read() if options.query == "-" else options.query
    if options.example is not None:
        if not 1 <= options.example <= len(EXAMPLES):
            raise FixQuery(f"There is no example {options.example}; there are 1 to {len(EXAMPLES)}.")
        query = EXAMPLES[options.example - 1].sql
    return apart(lambda: _answer(query, options.format))


def _answer(query: str, form: str) -> int:
    """Print the answer; here first DuckDB is imported, which takes longer than all before it."""
    from assets.cli.formats import FORMATS
    from pipelines.opening import mend_moved
    from warehouse.published.query import answer

    settings = warehouse_settings(environment())
    mend_moved(settings)
    with answer(settings.root, query) as found:
        for line in FORMATS[form](found):
            show(line)
    return 0


def _tables(options: argparse.Namespace) -> int:
    from warehouse.published.describe import tables_markdown

    show(tables_markdown().rstrip("\n"))
    return 0
