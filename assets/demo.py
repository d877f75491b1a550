"""The demo: the sandbox, an export through Dagster into DuckDB, verification, and SQL answers. Needs no account."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from assets.export_command import summary
from assets.formats import table
from assets.questions import DEMO
from assets.run import run_export
from assets.terminal import say, show
from pipelines.errors import FixConfiguration
from pipelines.query import answer
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.verify import verify
from warehouse.archive import open_archive
from warehouse.publish import NAME

FOLDER = Path("demo-data")


def demo() -> None:
    """Run the main job on the sandbox in `./demo-data` and print what it did.

    Raises:
        ExportError: the export or the verification failed.
    """
    if FOLDER.is_symlink():
        raise FixConfiguration(f"{FOLDER.absolute()} is a link, and the demo begins by emptying its folder; remove it.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    with Sandbox(made_up_world(now=datetime.now(UTC))) as sandbox:
        os.environ.update(sandbox.environment)
        os.environ["EXPORT_ROOT"] = str(FOLDER)
        os.environ.pop("TWILIO_API_KEY", None)
        say(f"A stand-in for Twilio with made-up calls listens on {sandbox.base_url}.")
        progress = run_export(None, None, full=False)
    show(summary(progress))
    found = verify(open_archive(FOLDER))
    show(
        f"Verified {found.files} files and {found.contents} contents against what came over the wire: "
        f"{len(found.mismatches) or 'no'} mismatches."
    )
    path = FOLDER / NAME
    for question, sql, _ in DEMO:
        with answer(FOLDER, sql) as answered:
            show(f"\n-- {question}\n{sql};\n{table(answered)}")
    show(
        f"\nNext: open {path} with DuckDB, see the run in Dagster with `addon-export ui`, or set TWILIO_ACCOUNT_SID,\n"
        "TWILIO_AUTH_TOKEN and EXPORT_ROOT and run `addon-export export` on your own account."
    )
