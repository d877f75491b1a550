"""The changelog is read by area, a line for each change."""

import re
from collections import Counter
from pathlib import Path

import pytest

CHANGELOG = (Path(__file__).resolve().parents[1] / "CHANGELOG.md").read_text()


def odd_lines(text: str) -> list[str]:
    """Lines that are no change on one line, or that stand there twice within a version."""
    odd = []
    for version in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in version.splitlines()[1:] if line]
        odd += [line for line in lines if not re.match(r"### [A-Z]|- ", line)]
        odd += [line for line, times in Counter(lines).items() if times > 1]
    return odd


def test_every_change_is_one_line_in_one_area() -> None:
    """So that two branches which add a line each can be joined, and nothing is told twice."""
    assert odd_lines(CHANGELOG) == []
    assert "### Added" not in CHANGELOG, "the areas are those of the readers: Exporting, Reading, Operating, ..."


@pytest.mark.parametrize(
    "more", ["- One.\n  Its second line.\n", "- One.\n- One.\n", "### Reading\n\n### Reading\n", "Text.\n"]
)
def test_a_line_out_of_order_is_noticed(more: str) -> None:
    """The control."""
    assert odd_lines(f"# Changelog\n\n## Unreleased\n\n### Exporting\n\n{more}") != []
