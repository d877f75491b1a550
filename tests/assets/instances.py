"""Dagster instances on disk with the project's own `dagster.yaml`, and runs in any state without running them."""

import shutil
import uuid
from pathlib import Path

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from tests.assets.conftest import ROOT


def instance_in(home: Path) -> dg.DagsterInstance:
    """An instance as users have it: the history in `home`, the pool's limit from our configuration."""
    home.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    return dg.DagsterInstance.from_config(str(home))


def made_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A run of the export job that somebody else would have to execute."""
    location = RegisteredCodeLocationOrigin("addon_export")
    run = dg.DagsterRun(
        job_name="export",
        run_id=str(uuid.uuid4()),
        status=status,
        tags={name.replace("__", "/"): value for name, value in tags.items()},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "export"),
    )
    return instance.add_run(run)
