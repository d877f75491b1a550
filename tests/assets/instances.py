"""Dagster instances on disk with the project's own `dagster.yaml`, and runs in any state without running them."""

import functools
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from assets.asking import op_config
from assets.definitions import build_definitions
from tests.assets.conftest import ROOT


def exporting() -> list[dg.AssetsDefinition]:
    """The assets that an export materialises, for the settings and the archive as they are now."""
    return [build_definitions().resolve_assets_def("add_on_results")]


def instance_in(home: Path) -> dg.DagsterInstance:
    """An instance as users have it: the history in `home`, the pool's limit from our configuration."""
    shutil.copytree(_empty().name, home)
    return dg.DagsterInstance.from_config(str(home))


@functools.cache
def _empty() -> "tempfile.TemporaryDirectory[str]":
    """A home whose tables are made already, which takes seconds; removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    shutil.copyfile(ROOT / "dagster.yaml", Path(folder.name) / "dagster.yaml")
    with dg.DagsterInstance.from_config(folder.name) as instance:
        instance.get_runs_count()
        instance.all_asset_keys()
        instance.all_instigator_state()
    return folder


def made_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *, full: Any = False, **tags: str
) -> dg.DagsterRun:
    """A run of the export job, for everything, that somebody else would have to execute."""
    location = RegisteredCodeLocationOrigin("addon_export")
    run = dg.DagsterRun(
        job_name="export",
        run_id=str(uuid.uuid4()),
        status=status,
        run_config={"ops": op_config(everything=True, full=full)},
        tags={name.replace("__", "/"): value for name, value in tags.items()},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "export"),
    )
    return instance.add_run(run)
