"""The command `addon-export seal`: make the operator's own what was committed without the key."""

from datetime import UTC, datetime

import click

from assets.cli.arguments import Command
from assets.terminal import say, show
from pipelines.errors import FixConfiguration
from pipelines.opening import to_write
from pipelines.settings import environment, warehouse_settings
from warehouse.published.publish import publish
from warehouse.store.seal import is_sealed
from warehouse.upkeep.verify import verify


@click.command(cls=Command)
def command() -> int:
    """Verify the archive, and commit its state once more with the seal of EXPORT_SEAL_KEY."""
    settings, now = warehouse_settings(environment()), datetime.now(UTC)
    if not settings.seal_secret:
        raise FixConfiguration("There is no key to seal with: set EXPORT_SEAL_KEY (`openssl rand -hex 32` makes one).")
    archive = to_write(settings, adopting=True)
    head = archive.head()
    if archive.seal_key is not None and is_sealed(head, archive.seal_key):
        show("The newest commit is sealed already." if head.number else "Nothing is exported yet; exports seal.")
        return 0
    wrong = [mismatch for mismatch in verify(archive).mismatches if mismatch.kind != "seal"]
    for mismatch in wrong:
        show(mismatch.sentence)
    if wrong:
        say("Nothing was sealed: what is there does not hold together.")
        return 4
    number = archive.adopt(head, at=now)
    publish(archive, settings.destination, now=now)
    show(f"Commit {number} is sealed; it holds what commit {head.number} held.")
    return 0
