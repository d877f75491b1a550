"""The demo: the sandbox, an export through Dagster into DuckDB, verification, and SQL answers. Needs no account."""

import os
import shutil
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from assets.run import run_export
from assets.terminal import say, show
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.verify import verify
from warehouse.archive import open_archive
from warehouse.publish import NAME

FOLDER = Path("demo-data")

LINE = 110
"""Width of the printed answers, in characters."""

QUESTIONS = (
    (
        "How many results completed on each of the last days, and are they exported?",
        "SELECT completed_date, count(*) AS results,\n"
        "    count(*) FILTER (state = 'exported') AS exported, round(min(hours_left)) AS hours_left\n"
        "FROM retention WHERE completed_date IS NOT NULL\n"
        "GROUP BY completed_date ORDER BY completed_date DESC LIMIT 5",
    ),
    (
        "What was said in the latest transcribed calls?",
        "SELECT t.completed_date, t.vendor, r.duration_seconds AS seconds, t.text\n"
        "FROM transcripts t JOIN recordings r ON r.sid = t.recording_sid\n"
        "WHERE t.vendor = 'ibm_watson' ORDER BY t.completed_date DESC, t.payload_sid LIMIT 2",
    ),
    (
        "Which kinds of content did the add-ons deliver?",
        "SELECT content_type, count(*) AS payloads, sum(content_length) AS bytes\n"
        "FROM add_on_payloads GROUP BY content_type ORDER BY payloads DESC",
    ),
)


def demo() -> None:
    """Run the main job on the sandbox in `./demo-data` and print what it did.

    Raises:
        ExportError: the export or the verification failed.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    with Sandbox(made_up_world(now=datetime.now(UTC))) as sandbox:
        os.environ.update(sandbox.environment)
        os.environ["EXPORT_ROOT"] = str(FOLDER)
        os.environ.pop("TWILIO_API_KEY", None)
        say(f"A stand-in for Twilio with made-up calls listens on {sandbox.base_url}.")
        progress = run_export(None, None, full=False)
    landed = progress.landed
    show(
        f"Exported {landed['recordings']} recordings, {landed['add_on_results']} add-on results, "
        f"{landed['contents']} contents ({progress.extraction.content_bytes:,} bytes) with "
        f"{progress.traffic().requests:,} requests."
    )
    found = verify(open_archive(FOLDER))
    show(
        f"Verified {found.files} files and {found.contents} contents against what came over the wire: "
        f"{len(found.mismatches) or 'no'} mismatches."
    )
    path = FOLDER / NAME
    with duckdb.connect(str(path), read_only=True) as db:
        for question, sql in QUESTIONS:
            show(f"\n-- {question}\n{sql};\n{_table(db, sql)}")
    show(
        f"\nNext: open {path} with DuckDB, see the run in Dagster with `make dev`, or set TWILIO_ACCOUNT_SID,\n"
        "TWILIO_AUTH_TOKEN and EXPORT_ROOT and run `addon-export export` on your own account."
    )


def _table(db: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The answer as aligned text; a long last column is wrapped."""
    cursor = db.execute(sql)
    names = [column[0] for column in cursor.description or []]
    rows = [["" if value is None else str(value).replace("\n", " ") for value in row] for row in cursor.fetchall()]
    widths = [max(len(cell) for cell in column) for column in zip(names, *rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = min(widths[-1], LINE - indent)
    lines = []
    for row in [names, ["-" * width for width in widths], *rows]:
        start = "".join(cell.ljust(width + 2) for cell, width in zip(row[:-1], widths[:-1], strict=True))
        wrapped = textwrap.wrap(row[-1], LINE - indent) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * indent + more for more in wrapped[1:])]
    return "\n".join(lines)
