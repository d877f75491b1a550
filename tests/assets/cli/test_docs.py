"""The README is true: its commands exist, its SQL runs on the demo's warehouse, its tables are the product's."""

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from assets.cli.ending import ExitCode
from assets.cli.formats import table
from assets.cli.pages import questions_markdown
from assets.cli.questions import DEMO, EXAMPLES
from pipelines import settings
from pipelines.errors import FixConfiguration
from pipelines.sandbox.contents import ADD_ONS
from pipelines.sandbox.world import add_on_sid
from pipelines.settings import warehouse_settings
from tests.assets.conftest import ROOT, CommandLine
from warehouse.published.describe import tables_markdown
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.published.transcripts import shapes
from warehouse.schema import TABLES
from warehouse.store.archive import open_archive

README = (ROOT / "README.md").read_text()

PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a demo leaves behind, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    done = CommandLine(folder)("demo")
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def test_the_demo_runs_without_an_account(warehouse: Path) -> None:
    """One command shows the whole job, down to the text of a transcript."""
    said = (warehouse / "said.txt").read_text()
    assert "no mismatches" in said
    assert said.count("\nSELECT ") == len(DEMO)
    assert "ibm_watson" in said


def test_every_sql_example_answers_on_the_demo(warehouse: Path) -> None:
    """Each runs as printed, in the README and in every page, by an analyst's own client."""
    examples = [sql for page in (README, *PAGES.values()) for sql in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]
    assert len(examples) >= 4 + len(EXAMPLES)
    with duckdb.connect(str(warehouse / "demo-data" / "addons.duckdb"), read_only=True) as db:
        for sql in examples:
            assert db.execute(sql).description, sql


@pytest.fixture(scope="module", params=["duckdb", "parquet"])
def published_as(request: pytest.FixtureRequest, warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's warehouse, published in either way."""
    root = tmp_path_factory.mktemp(request.param) / "root"
    shutil.copytree(warehouse / "demo-data", root, symlinks=True)
    names = warehouse_settings({"TWILIO_ADDON_NAMES": ",".join(f"{add_on_sid(a.name)}={a.name}" for a in ADD_ONS)})
    archive = open_archive(root, add_on_names=names.add_on_names)
    publish(archive, request.param, now=datetime.now(UTC), afresh=True)
    return root


def test_every_printed_answer_is_the_demos(published_as: Path) -> None:
    """The page of questions is what `make docs` makes of this demo, but for answers that change with the day."""
    made = re.split(r"^## ", questions_markdown(published_as), flags=re.MULTILINE)
    printed = re.split(r"^## ", PAGES["questions.md"], flags=re.MULTILINE)
    assert len(made) == len(printed) == 1 + len(EXAMPLES)
    assert made[0] == printed[0]
    for question, mine, theirs in zip(EXAMPLES, made[1:], printed[1:], strict=True):
        if question.dated:
            columns = [re.sub(r" {2,}", " ", text.split("```text\n")[1].splitlines()[0]) for text in (mine, theirs)]
            assert columns[0] == columns[1]
            mine, theirs = (text.split("```text")[0] for text in (mine, theirs))  # the rest is dated
        assert mine == theirs, "run `make docs`"


def test_every_answer_in_the_readme_is_the_demos(published_as: Path) -> None:
    """Those that are printed are what `addon-export sql` prints."""
    examples = re.findall(r"```sql\n([^`]*)```\n\n```text\n([^`]*)```", README)
    assert len(examples) >= 4
    for sql, printed in examples:
        with answer(published_as, sql) as found:
            assert table(found) == printed.rstrip("\n"), sql


def test_the_page_of_tables_is_current() -> None:
    """It says what the COMMENTs of a published file say."""
    assert tables_markdown() == PAGES["tables.md"], "run `make docs`"


def test_the_python_example_runs(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied from the README into the folder where the demo was run."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(warehouse)
    exec(compile(example, "README.md", "exec"), {})
    assert "payload_sid" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # inside DuckDB's own `df`
def test_the_python_examples_of_the_page_on_reading_run(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, as a reader would try them; all ways of reading one day find as many results."""
    monkeypatch.chdir(warehouse)
    yesterday = (datetime.now(UTC) - timedelta(days=2)).date()
    names: dict[str, object] = {"DAY": str(yesterday)}
    for example in re.findall(r"```python\n(.*?)```", PAGES["reading.md"], re.DOTALL):
        exec(compile(example, "reading.md", "exec"), names)
    duckdbs, polars, arrow = capsys.readouterr().out.splitlines()[-3:]
    assert int(polars) == int(arrow) == int(duckdbs.strip("[](),")) > 0


def test_the_shape_of_the_page_on_reading_is_one(tmp_path: Path) -> None:
    """Copied into the documented folder, it is used."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGES["reading.md"], re.DOTALL)
    (tmp_path / "_shapes").mkdir()
    (tmp_path / "_shapes" / "acme.toml").write_text(example)
    found = shapes(tmp_path)
    assert (found.usable[0].vendor, dict(found.broken)) == ("acme", {})


def test_the_transcript_shows_the_demos_questions() -> None:
    """The first screen is what `make demo` prints, apart from dates and numbers."""
    for question, sql, _ in DEMO:
        assert f"-- {question}\n{sql};" in README


def test_every_command_exit_code_and_table_is_in_the_readme() -> None:
    """Nothing a user meets is left out."""
    for command in (
        "export",
        "verify",
        "status",
        "rebuild",
        "sandbox",
        "ui",
        "demo",
        "sql",
        "compact",
        "tables",
        "delete plan",
        "delete apply",
        "erase",
        "quarantine list",
        "quarantine show",
        "quarantine retry",
        "quarantine dismiss",
    ):
        assert f"addon-export {command}" in README
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", README, re.MULTILINE), code
    for name in TABLES:
        assert f"`{name}`" in README


def test_every_documented_variable_is_read() -> None:
    """A name in the README that no code reads would be a promise nobody keeps."""
    source = "".join(
        path.read_text() for folder in ("assets", "pipelines", "warehouse") for path in (ROOT / folder).rglob("*.py")
    )
    names = set(re.findall(r"`((?:TWILIO|EXPORT|DAGSTER)_[A-Z_]+?)(?:_<AC\.\.\.>)?`", README))
    assert len(names) >= 10
    for name in names:
        assert name in source or name.removesuffix("_SECRET") in source, name


def test_a_missing_credential_names_what_to_set() -> None:
    """The sentence a newcomer sees first."""
    with pytest.raises(FixConfiguration, match="TWILIO_ACCOUNT_SID"):
        settings.twilio_settings({"TODAY": f"{datetime.now(UTC):%F}"})
