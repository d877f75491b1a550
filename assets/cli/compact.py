"""The command `addon-export compact`: one file a partition and table, then publish, collect and verify."""

import json
import uuid
from datetime import UTC, datetime

import click

from assets.cli.arguments import Command
from assets.cli.opened import open_and_say
from assets.terminal import say, show
from pipelines.conclude import conclude
from pipelines.errors import VerificationMismatch
from pipelines.settings import environment, warehouse_settings
from pipelines.shown_time import stamp_time, trusted_time
from warehouse.memory import return_freed_memory
from warehouse.upkeep.compact import compact

TRIES = 20
"""Times that exports which land meanwhile may come first."""


@click.command(cls=Command)
def command() -> None:
    """Join files, so that there is one for each partition and table; then publish, collect and verify."""
    return_freed_memory()
    settings = warehouse_settings(environment())
    archive = open_and_say(settings)
    here = datetime.now(UTC)
    trusted, now = trusted_time(archive, here=here), stamp_time(archive, here=here)
    before, run_id = archive.head(), f"compact-{uuid.uuid4().hex}"
    replaced = compact(archive, now=now, run_id=run_id, thorough=True, tries=TRIES)
    done = conclude(archive, settings.destination, since=before.number, now=now, trusted=trusted, run_id=run_id)
    files = sum(1 for _ in archive.head().files())
    show(json.dumps({"files_joined": replaced, "files": files, "commit": done.commit}))
    if done.mismatches:
        raise VerificationMismatch(done.mismatches[0].sentence)
    say(f"{replaced} files were joined; {files} are left. Readers keep the old ones for a day.")
