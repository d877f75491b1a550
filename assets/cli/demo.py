"""The demo: the sandbox, an export through Dagster into DuckDB, verification, and SQL answers. Needs no account."""

import os
import shlex
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import click

from assets.cli.arguments import Command
from assets.cli.asked import asked
from assets.cli.formats import table
from assets.cli.questions import DEMO
from assets.cli.run import export_as_a_run
from assets.cli.summary import summary
from assets.runs.whose import SETTING
from assets.terminal import say, show
from pipelines.environment import path_of
from pipelines.errors import FixConfiguration
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from warehouse.errors import WarehouseError
from warehouse.published.query import answer
from warehouse.schema import ADD_ON_RESULTS, RECORDINGS
from warehouse.store.archive import Archive
from warehouse.store.files import ACCESS
from warehouse.store.marker import Marker, read_marker, update_marker
from warehouse.store.names import ARCHIVE_LOCK, MARKER, PUBLISHED, TURN_LOCK
from warehouse.store.opening import open_archive
from warehouse.store.strangers import files_under, remove_ours
from warehouse.upkeep.verify import verify

FOLDER = Path("demo-data")


@click.command(cls=Command)
def command() -> None:
    """Show the whole job without an account: sandbox, export through Dagster, verification and a few SQL answers.

    Goes to EXPORT_ROOT where that is empty or of a demo, else to ./demo-data.
    """
    demo()


def demo() -> None:
    """Run the main job on the sandbox and print what it did.

    Goes to EXPORT_ROOT where that is empty or of a demo, else to `./demo-data`. Of an earlier demo only what this
    program made is removed.

    Raises:
        FixConfiguration: `./demo-data` holds an archive that is not a demo's.
        ExportError: the export or the verification failed.
    """
    if FOLDER.is_symlink():
        raise FixConfiguration(
            f"{FOLDER.absolute()} is a link, and none is followed to what a demo removes; remove it."
        )
    world = made_up_world(now=datetime.now(UTC))
    folder = _folder(world.accounts)
    _begin_anew(folder)
    with Sandbox(world) as sandbox:
        os.environ.update(sandbox.environment)
        os.environ["EXPORT_ROOT"] = str(folder)
        os.environ.pop("TWILIO_API_KEY", None)
        say(f"A stand-in for Twilio with made-up calls listens on {sandbox.base_url}.")
        progress = export_as_a_run(asked(None, None, full=False))
    show(summary(progress))
    found = verify(open_archive(folder))
    show(
        f"Verified {found.files} files and {found.contents} contents against what came over the wire: "
        f"{len(found.mismatches) or 'no'} mismatches."
    )
    path = folder / PUBLISHED
    for question, sql, _ in DEMO:
        with answer(folder, sql) as answered:
            show(f"\n-- {question}\n{sql};\n{table(answered)}")
    ui = f"EXPORT_ROOT={shlex.quote(str(folder))} addon-export ui"
    show(
        f"\nNext: open {path} with DuckDB, see the run in Dagster with `{ui}`, or set\n"
        "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and EXPORT_ROOT and run `addon-export export` on your own account."
    )


def _begin_anew(folder: Path) -> None:
    """Make the folder a demo's, with nothing in it of the one before."""
    archive = open_archive(folder)
    update_marker(archive, lambda found: Marker(found.created_at, settings={SETTING: True}))
    remove_ours(archive.root, but={MARKER, ARCHIVE_LOCK, TURN_LOCK})


def _folder(accounts: Collection[str]) -> Path:
    """Where the demo goes."""
    # of the environment alone: a file of settings is for the exports of a real account
    if (asked := os.environ.get("EXPORT_ROOT", "").strip()) and "://" not in asked:
        root = path_of(asked, "EXPORT_ROOT")
        if not _holds_anything(root) or _is_a_demos(root):
            return root
        say(f"EXPORT_ROOT {root} is in use and stays as it is; the demo goes to {FOLDER}.")
    if any(kind is not None for _, kind in files_under(FOLDER)) and not (
        _is_a_demos(FOLDER) or _is_made_up(FOLDER, accounts)
    ):
        raise FixConfiguration(f"{FOLDER} holds an archive that is not the demo's; run the demo in another folder.")
    return FOLDER


def _holds_anything(root: Path) -> bool:
    return root.exists() and not (root.is_dir() and not any(root.iterdir()))


def _is_a_demos(root: Path) -> bool:
    try:
        marker = read_marker(root)
    except WarehouseError:
        return False
    return marker is not None and marker.settings.get(SETTING) is True


def _is_made_up(root: Path, accounts: Collection[str]) -> bool:
    """Whether an archive from before there were markers holds made-up accounts alone."""
    if (root / MARKER).exists():
        return False
    archive = Archive(root.absolute(), ACCESS["none"])
    try:
        head = archive.head()
        return all(
            sid in accounts
            for kept in (RECORDINGS, ADD_ON_RESULTS)
            for file in head.tables[kept.name].values()
            for batch in archive.read(archive.sound(file), kept, ["account_sid"])
            for sid in batch["account_sid"].to_pylist()
        )
    except WarehouseError:
        return False
