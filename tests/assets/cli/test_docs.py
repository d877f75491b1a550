"""README and docs are true: their SQL runs on the demo's warehouse, their tables are the product's, no link is dead."""

import ast
import itertools
import re
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import duckdb
import pytest

from assets.cli.ending import ExitCode
from assets.cli.formats import table
from assets.cli.main import COMMANDS, addon_export
from assets.cli.pages import questions_markdown, settings_markdown
from assets.cli.questions import DEMO, EXAMPLES
from pipelines import settings
from pipelines.errors import FixConfiguration
from pipelines.sandbox.contents import ADD_ONS
from pipelines.sandbox.world import add_on_sid
from pipelines.settings import warehouse_settings
from pipelines.variables import SETTINGS
from tests.assets.conftest import ROOT, CommandLine
from tests.trials.__main__ import TRIALS
from warehouse.published.describe import tables_markdown
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.schema import TABLES
from warehouse.store.opening import open_archive
from warehouse.transcripts.shapes import shapes

README = (ROOT / "README.md").read_text()

PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"}

WRITTEN = {
    path: path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md")
}
"""Every page with links, by its path."""

LONGEST_README = 220
"""Lines that a stranger reads before he tries."""


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


@pytest.fixture(scope="module")
def in_parquet(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's warehouse, published in the other way; that both answer alike is tested where they are."""
    root = tmp_path_factory.mktemp("parquet") / "root"
    shutil.copytree(warehouse / "demo-data", root, symlinks=True)
    names = warehouse_settings({"TWILIO_ADDON_NAMES": ",".join(f"{add_on_sid(a.name)}={a.name}" for a in ADD_ONS)})
    archive = open_archive(root, add_on_names=names.add_on_names)
    publish(archive, "parquet", now=datetime.now(UTC), afresh=True)
    return root


def test_every_printed_answer_is_the_demos(in_parquet: Path) -> None:
    """The page of questions is what `make docs` makes of this demo, but for answers that change with the day."""
    made = re.split(r"^## ", questions_markdown(in_parquet), flags=re.MULTILINE)
    printed = re.split(r"^## ", PAGES["questions.md"], flags=re.MULTILINE)
    assert len(made) == len(printed) == 1 + len(EXAMPLES)
    assert made[0] == printed[0]
    for question, mine, theirs in zip(EXAMPLES, made[1:], printed[1:], strict=True):
        if question.dated:
            columns = [re.sub(r" {2,}", " ", text.split("```text\n")[1].splitlines()[0]) for text in (mine, theirs)]
            assert columns[0] == columns[1]
            mine, theirs = (text.split("```text")[0] for text in (mine, theirs))  # the rest is dated
        assert mine == theirs, "run `make docs`"


def test_every_other_printed_answer_is_the_demos(warehouse: Path) -> None:
    """Those of the README and of pages that are written by hand are what `addon-export sql` prints."""
    pages = [README, *(text for name, text in PAGES.items() if name != "questions.md")]
    examples = re.findall(r"```sql\n([^`]*)```\n\n```text\n([^`]*)```", "\n".join(pages))
    assert len(examples) >= 2
    for sql, printed in examples:
        with answer(warehouse / "demo-data", sql) as found:
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


STEPS = ("delete plan", "delete apply", *(f"quarantine {step}" for step in ("list", "show", "retry", "dismiss")))
"""Of commands that have some."""


def test_every_command_exit_code_and_table_is_documented() -> None:
    """Nothing a user meets is left out."""
    documented = "\n".join((README, *PAGES.values()))
    for command in (*COMMANDS, *STEPS):
        assert f"addon-export {command}" in documented, command
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", PAGES["operating.md"], re.MULTILINE), code
    for name in TABLES:
        assert f"`{name}`" in README


def test_the_page_of_settings_is_current() -> None:
    """It says what the table of settings says."""
    assert settings_markdown() == PAGES["settings.md"], "run `make docs`"


NAMES = re.compile(r"(?:TWILIO|EXPORT)_[A-Z]+(?:_[A-Z]+)*|DAGSTER_HOME|SSL_CERT_(?:FILE|DIR)|HTTPS_PROXY|NO_PROXY")

KNOWN = {setting.name for settings in SETTINGS.values() for setting in settings}


def named_in(source: str) -> set[str]:
    """Variables of ours that a module names in a text by itself, which is how they are read."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return {text for text in constants if isinstance(text, str) and NAMES.fullmatch(text)}


def test_every_variable_that_the_code_reads_is_in_the_table() -> None:
    """A setting that is read somewhere else would be on no page."""
    sources = [path for folder in ("assets", "pipelines", "warehouse") for path in (ROOT / folder).rglob("*.py")]
    names = {name for path in sources for name in named_in(path.read_text())}
    assert names - KNOWN == set()
    assert named_in('os.environ["EXPORT_NOVEL"]') == {"EXPORT_NOVEL"}


def test_every_documented_variable_is_in_the_table() -> None:
    """A name in README or docs that no code reads would be a promise nobody keeps."""
    documented = set(NAMES.findall("\n".join((README, *PAGES.values()))))
    suffixed = {"TWILIO_AUTH_TOKEN_", "TWILIO_API_KEY_", "TWILIO_API_SECRET_", "EXPORT_DELETE_"}
    assert {name for name in documented if f"{name}_" not in suffixed} - KNOWN == set()
    assert len(documented) >= len(KNOWN)


COMMAND = re.compile(r"(\w+=\S+ )*(\S+/)?(addon-export|make) \S")


def command_lines(text: str) -> list[list[str]]:
    """What a page asks a shell to run, in blocks and in sentences, as words without the settings before it."""
    blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", sentences)]
    found = [shlex.split(line, comments=True) for line in lines if COMMAND.match(line)]
    return [list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), line)) for line in found]


def unknown_words(line: list[str]) -> list[str]:
    """Commands, options, targets and trials of a command line that there are not."""
    if line[0] == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        chosen = [word.removeprefix("NAME=") for word in line if word.startswith("NAME=")]
        words = [word for word in line[1:] if "=" not in word]
        return [word for word in words if word not in targets] + [name for name in chosen if name not in TRIALS]
    found: click.Command = addon_export
    context = click.Context(found)
    for word in line[1:]:
        if isinstance(found, click.Group):
            below = found.get_command(context, word)
            if below is None:
                return [] if word == "--help" else [word]
            found, context = below, click.Context(below, parent=context)
    known = {option for parameter in found.get_params(context) for option in parameter.opts}
    return [word for word in line if word.startswith("--") and word.partition("=")[0] not in known]


def test_every_command_line_of_a_page_could_be_run() -> None:
    """Its command, its options, its target and its trial are there."""
    now = (text for page, text in WRITTEN.items() if page.name != "CHANGELOG.md")
    lines = [line for text in now for line in command_lines(text)]
    assert len(lines) >= 120
    assert [(line, unknown_words(line)) for line in lines if unknown_words(line)] == []


@pytest.mark.parametrize(
    "line",
    ["addon-export exprot", "addon-export erase --all", "make kills", "make trial NAME=kill", "addon-export delete x"],
)
def test_a_command_line_that_could_not_be_run_is_noticed(line: str) -> None:
    """The control."""
    assert [unknown_words(words) for words in command_lines(f"```console\n$ {line}\n```\n")] != [[]]


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    lines = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    words = (line.lstrip("# ").lower() for line in lines if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", word).replace(" ", "-") for word in words}


def dead_links(page: Path, text: str) -> list[str]:
    """Links of a page that lead to no file, or to no heading of a page. Those to other hosts are left."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        name, _, anchor = link.partition("#")
        to = page.parent / name if name else page
        if "://" in link:
            continue
        if not to.exists() or (anchor and anchor not in headings(text if to == page else to.read_text())):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder that is there, and to a heading that is in it."""
    assert dead_links(page, WRITTEN[page]) == []


@pytest.mark.parametrize("link", ["docs/gone.md", "docs/deleting.md#gone", "#gone", "pipelines/gone.py"])
def test_a_link_that_leads_nowhere_is_noticed(link: str) -> None:
    """The control."""
    assert dead_links(ROOT / "README.md", f"# Title\n\nsee [there]({link})\n") == [link]


PATHS = re.compile(r"`((?:assets|benchmarks|docs|pipelines|requirements|tests|warehouse)/[\w./]+)`")


def test_every_path_that_a_page_names_exists() -> None:
    """The proof of a promise that is not where it is said to be is none."""
    now = "\n".join(text for page, text in WRITTEN.items() if page.name != "CHANGELOG.md")
    paths = set(PATHS.findall(now))
    assert len(paths) >= 50
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_index_names_every_page() -> None:
    """A page that nobody is led to is not read."""
    index = (ROOT / "docs" / "README.md").read_text()
    assert [name for name in PAGES if f"]({name})" not in index] == []


def test_the_readme_is_short() -> None:
    """What is for one reader or one task has a page in `docs/`."""
    assert len(README.splitlines()) <= LONGEST_README


def test_a_missing_credential_names_what_to_set() -> None:
    """The sentence a newcomer sees first."""
    with pytest.raises(FixConfiguration, match="TWILIO_ACCOUNT_SID"):
        settings.twilio_settings({"TODAY": f"{datetime.now(UTC):%F}"})
