"""CONTRIBUTING is true: every path that it names exists, and every room and every file on a floor has its line."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FLOORS = ("assets", "pipelines", "warehouse")


def rooms(page: str) -> set[str]:
    """Paths of the tree: names that are indented by two stand in the room above them."""
    found, room = set(), ""
    (tree,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for line in tree.splitlines():
        name = line.split()[0]
        room = room if line.startswith("  ") else name
        found.add(room + name if line.startswith("  ") else name)
    return {path.rstrip("/") for path in found}


def named(page: str) -> set[str]:
    """Paths that stand in a sentence or a table."""
    return {path.rstrip("/") for path in re.findall(r"`([\w.]+(?:/[\w.]+)+/?|[\w]+/|\w+\.toml)`", page)}


def test_every_path_exists() -> None:
    """In the tree, and wherever something is to be found."""
    paths = rooms(PAGE) | named(PAGE)
    assert len(paths) > 80
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_room_and_every_file_of_a_floor_is_in_the_tree() -> None:
    """A new one gets a line, so that a stranger finds it."""
    there = {
        f"{floor}/{path.name}"
        for floor in FLOORS
        for path in (ROOT / floor).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.name != "__init__.py")
    }
    assert there - rooms(PAGE) == set()


@pytest.mark.parametrize("line", ["`pipelines/gone.py`", "`pipelines/delete/gone.py`: what must hold"])
def test_a_path_that_is_gone_is_noticed(line: str) -> None:
    """The control."""
    assert not (ROOT / named(line).pop()).exists()


def test_a_question_takes_two_files_at_most() -> None:
    """Whoever has to open a third does not find it."""
    (table,) = re.findall(r"## Where is \.\.\.\?\n\n(.*?)\n\n", PAGE, re.DOTALL)
    rows = table.splitlines()[2:]
    assert len(rows) >= 15
    assert all(1 <= len(named(row)) <= 2 for row in rows)
