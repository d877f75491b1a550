"""A running sandbox, and the environment that points the product at it and at folders of the test's own."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any

import duckdb
import pytest

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.server import Server
from tests.pipelines.conftest import Exporter
from warehouse.store.opening import open_archive

ROOT = Path(__file__).resolve().parents[2]


MADE = datetime.now(UTC)
"""When the worlds of these tests were made."""

RECORDINGS = 12
"""Recordings of the sandbox. Dagster takes 20 ms of CPU for each day that has results of theirs."""


@functools.cache
def _server() -> Server:
    server = Server()
    atexit.register(server.close)
    return server


@dataclass
class CommandLine:
    """Runs `addon-export` as a user does: another process, its own folders."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Where it exports to."""
        return self.folder / "data"

    def clean_environment(self, **environment: str) -> dict[str, str]:
        """This process's environment without settings of ours, and with these; those given as "" are unset."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))}
        env = {**inherited, "PYTHONPATH": str(ROOT), **self.environment, **environment}
        return {name: value for name, value in env.items() if value}

    def start(
        self, *arguments: str, stdout: int | IO[str] = PIPE, stderr: int | IO[str] = PIPE, **environment: str
    ) -> subprocess.Popen[str]:
        """Start a command; environment variables given as "" are unset."""
        return subprocess.Popen(
            [sys.executable, "-m", "assets.cli", *arguments],
            cwd=self.folder,
            env=self.clean_environment(**environment),
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its libraries are imported already."""
        return _server().run(arguments, self.folder, self.clean_environment(**environment), timeout=120)

    def without_space(self, kilobytes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that cannot write further into any file than this, as on a disk that is full."""
        (out, for_out), (err, for_err) = os.pipe(), os.pipe()  # which hold all that such a command has to say
        with os.fdopen(out) as said, os.fdopen(err) as talk:
            with os.fdopen(for_out, "w") as into, os.fdopen(for_err, "w") as into_too:
                code = self.into(into, into_too, *arguments, largest=kilobytes << 10)
            return subprocess.CompletedProcess(arguments, code, said.read(), talk.read())

    def into(self, out: IO[str], err: IO[str], *arguments: str, largest: int | None = None) -> int:
        """Run a command that writes there, and no file beyond `largest` bytes; its exit code."""
        environment = self.clean_environment()
        return _server().run_into((out, err), arguments, self.folder, environment, timeout=120, largest=largest)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What an analyst's query answers."""
        with duckdb.connect(str(self.root / "addons.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A small made-up world on the real clock, shared by all tests that run its commands and change nothing in it."""
    with Sandbox(made_up_world(now=MADE, recordings=RECORDINGS)) as running:
        yield running


@pytest.fixture
def command(sandbox: Sandbox, tmp_path: Path) -> CommandLine:
    """The command line, pointed at the sandbox and at an empty folder."""
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    return CommandLine(tmp_path, sandbox.environment)


@pytest.fixture
def exported(command: CommandLine) -> CommandLine:
    """The same, where an export has landed everything."""
    put_export(command.root, recordings=RECORDINGS)
    return command


def put_export(root: Path, *, recordings: int) -> None:
    """Put an export of the world of so many recordings that was MADE there: worlds made alike are alike."""
    shutil.copytree(_exported(recordings).name, root, symlinks=True)


@functools.cache
def _exported(recordings: int) -> "tempfile.TemporaryDirectory[str]":
    """Such an export, made once and without Dagster, which takes seconds; removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    with Sandbox(made_up_world(now=MADE, recordings=recordings)) as sandbox:
        Exporter(sandbox, open_archive(Path(folder.name)))().verdict()
    return folder
