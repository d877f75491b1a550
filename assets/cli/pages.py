"""The pages of `docs/` that are made and not written: `make docs` runs the demo and writes them.

A test makes them again and compares, so what they say is true of this version.
"""

import contextlib
import tempfile
from pathlib import Path

from assets.cli.demo import FOLDER, demo
from assets.cli.formats import table
from assets.cli.questions import EXAMPLES
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


def main() -> None:
    """Write both pages."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "tables.md").write_text(tables_markdown())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        demo()
        page = questions_markdown(Path(FOLDER))
    (DOCS / "questions.md").write_text(page)


if __name__ == "__main__":
    main()
