"""The pages of `docs/` that are made and not written: `make docs` runs the demo and writes them.

A test makes them again and compares, so what they say is true of this version.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from assets.cli.formats import table
from assets.cli.questions import EXAMPLES
from pipelines.variables import SETTINGS
from warehouse.published.describe import tables_markdown
from warehouse.published.query import answer

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """\
# Questions

<!-- made by `make docs` -->

Each can be asked with `addon-export sql "..."`, or by its number with `addon-export sql --example 4`; `--format csv`
and `--format json` are for programs. The answers are those of `make demo`; where days and deadlines are asked for,
yours show other ones. What the tables hold is said in [tables.md](tables.md), other ways to read them in
[reading.md](reading.md).
"""

SETTINGS_HEAD = """\
# Settings

<!-- made by `make docs` of the table in `pipelines/variables.py` -->

They come from the environment, or from a file `.env` in the current folder; the environment goes before the file. Only
the account and its credentials must be set, and only for commands that talk to Twilio. Everything that is written is
private to you unless `EXPORT_SHARED_READ` says otherwise; nobody else is let into `DAGSTER_HOME`.

A subaccount has the credentials of its account, or its own: `TWILIO_AUTH_TOKEN_<AC...>`, or `TWILIO_API_KEY_<AC...>`
and `TWILIO_API_SECRET_<AC...>`.
"""

NOTE = "On the day this page was made:\n\n"


def questions_markdown(root: Path) -> str:
    """Every example with its SQL and the answer of the warehouse in `root`."""
    sections = []
    for number, question in enumerate(EXAMPLES, 1):
        with answer(root, question.sql) as found:
            answered = table(found)
        note = NOTE if question.dated else ""
        sections.append(
            f"## {number}. {question.text}\n\n```sql\n{question.sql}\n```\n\n{note}```text\n{answered}\n```\n"
        )
    return "\n".join([HEAD, *sections])


def settings_markdown() -> str:
    """Every setting with its meaning and its default."""
    sections = []
    for title, settings in SETTINGS.items():
        rows = (
            f"| `{one.name}` | {one.words} | {f'`{one.default}`' if one.default else one.unset} |" for one in settings
        )
        sections.append("\n".join((f"\n## {title}\n", "| variable | meaning | default |", "|---|---|---|", *rows, "")))
    return "".join([SETTINGS_HEAD, *sections])


def main() -> None:
    """Write all of them."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "settings.md").write_text(settings_markdown())
    (DOCS / "tables.md").write_text(tables_markdown())
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "assets.cli", "demo"], cwd=folder, check=True)  # ours
        page = questions_markdown(Path(folder) / "demo-data")
    (DOCS / "questions.md").write_text(page)


if __name__ == "__main__":
    main()
