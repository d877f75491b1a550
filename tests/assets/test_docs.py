"""The README is true: its commands exist, its SQL runs on the demo's warehouse, its tables are the product's."""

import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from assets import cli
from assets.questions import DEMO
from pipelines import settings
from pipelines.errors import FixConfiguration
from tests.assets.conftest import ROOT, CommandLine
from warehouse.schema import TABLES

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a demo leaves behind."""
    folder = tmp_path_factory.mktemp("demo")
    done = CommandLine(folder)("demo")
    assert done.returncode == 0, done.stderr
    return folder


def test_every_sql_example_answers_on_the_demo(warehouse: Path) -> None:
    """Each runs as printed and finds something."""
    examples = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    assert len(examples) >= 4
    with duckdb.connect(str(warehouse / "demo-data" / "addons.duckdb"), read_only=True) as db:
        for sql in examples:
            assert db.execute(sql).fetchall(), sql


def test_the_python_example_runs(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied from the README into the folder where the demo was run."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(warehouse)
    exec(compile(example, "README.md", "exec"), {})
    assert "payload_sid" in capsys.readouterr().out


def test_the_transcript_shows_the_demos_questions() -> None:
    """The first screen is what `make demo` prints, apart from dates and numbers."""
    for question, sql in DEMO:
        assert f"-- {question}\n{sql};" in README


def test_every_command_exit_code_and_table_is_in_the_readme() -> None:
    """Nothing a user meets is left out."""
    for command in ("export", "verify", "status", "rebuild", "sandbox", "demo", "delete plan", "delete apply"):
        assert f"addon-export {command}" in README
    for code in cli.ExitCode:
        assert re.search(rf"^\| {code.value} \|", README, re.MULTILINE), code
    for name in TABLES:
        assert f"`{name}`" in README


def test_every_documented_variable_is_read() -> None:
    """A name in the README that no code reads would be a promise nobody keeps."""
    source = "".join(path.read_text() for folder in ("assets", "pipelines") for path in (ROOT / folder).rglob("*.py"))
    names = set(re.findall(r"`((?:TWILIO|EXPORT|DAGSTER)_[A-Z_]+?)(?:_<AC\.\.\.>)?`", README))
    assert len(names) >= 10
    for name in names:
        assert name in source or name.removesuffix("_SECRET") in source, name


def test_a_missing_credential_names_what_to_set() -> None:
    """The sentence a newcomer sees first."""
    with pytest.raises(FixConfiguration, match="TWILIO_ACCOUNT_SID"):
        settings.twilio_settings({"TODAY": f"{datetime.now(UTC):%F}"})
