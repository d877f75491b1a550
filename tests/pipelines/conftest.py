"""An export of a sandbox into a folder, by the product's own path, and what an analyst then sees."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.export import export
from pipelines.records.sids import account_sid
from pipelines.report import ExportReport, Progress
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.twilio.client import Credential, Tuning, connect
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

HASTY = Tuning(budget=1.0, unanswered_budget=0.5, api_deadline=5.0, content_deadline=5.0, apart=0.05)
"""A client that gives up soon, for tests in which something stays broken."""


@dataclass
class Exporter:
    """Exports one sandbox into one folder."""

    sandbox: Sandbox
    archive: Archive
    destination: Destination = "duckdb"
    tuning: Tuning = HASTY
    progress: Progress = field(default_factory=Progress)
    ahead: timedelta = timedelta(0)
    """How far the clock here is ahead of the source's."""

    def __call__(self, scope: Scope | None = None, *, workers: int = 50) -> ExportReport:
        """Run one export at the sandbox's time."""
        self.progress = Progress()

        async def run() -> ExportReport:
            client = connect(
                account_sid(self.sandbox.account_sid),
                Credential(self.sandbox.account_sid, self.sandbox.auth_token),
                base_url=self.sandbox.base_url,
                tuning=self.tuning,
            )
            async with client:
                return await export(
                    [client],
                    self.archive,
                    destination=self.destination,
                    scope=scope or Scope(),
                    run_id="test",
                    clock=lambda: self.sandbox.now + self.ahead,
                    workers=workers,
                    progress=self.progress,
                )

        return asyncio.run(run())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What an analyst's query on `addons.duckdb` answers."""
        with duckdb.connect(str(self.archive.root / PUBLISHED), read_only=True) as db:
            db.execute("SET TimeZone = 'UTC'")
            return db.execute(sql).fetchall()


@pytest.fixture
def world() -> World:
    """One account without recordings, for a test to fill."""
    world = World()
    world.add_account(date_created=NOW.replace(year=2020))
    return world


@pytest.fixture
def sandbox(world: World) -> Iterator[Sandbox]:
    """The world, running, its clock standing at NOW until a test moves it."""
    with Sandbox(world, now=NOW) as running:
        yield running


@pytest.fixture
def exporter(sandbox: Sandbox, tmp_path: Path) -> Exporter:
    """Exports the sandbox into an empty folder."""
    return Exporter(sandbox, open_archive(tmp_path / "data"))


@pytest.fixture
def new_exporter(tmp_path: Path) -> Callable[[Sandbox, Destination], Exporter]:
    """Makes exporters for sandboxes of the test's own."""

    def make(sandbox: Sandbox, destination: Destination) -> Exporter:
        return Exporter(sandbox, open_archive(tmp_path / destination), destination)

    return make
