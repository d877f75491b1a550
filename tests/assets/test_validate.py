"""The command that deployments run before they trust a code location."""

import subprocess
import sys
from pathlib import Path

from tests.assets.conftest import ROOT, CommandLine


def test_the_definitions_are_valid_without_credentials_and_without_a_warehouse(tmp_path: Path) -> None:
    """`dagster definitions validate -w workspace.yaml`, with the configuration that is shipped."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    environment = CommandLine(tmp_path).clean_environment(DAGSTER_HOME=str(home), EXPORT_ROOT=str(tmp_path / "data"))
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location addon_export" in done.stderr + done.stdout
    assert not (tmp_path / "data").exists()
