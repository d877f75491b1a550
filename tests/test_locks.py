"""What is installed is pinned and hashed, and comes from wherever the operator's pip takes it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("runtime.txt", "dev.txt", "bench.txt", "audit.txt")
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[^ ;]+(?: ; [^\\]+?)?(?: --hash=sha256:[0-9a-f]{64})+")


def unhashed(text: str) -> list[str]:
    """Lines of a lock file that are anything but a pinned requirement with hashes."""
    joined = re.sub(r" *\\\n *", " ", text)
    lines = (line for line in joined.splitlines() if line and not line.lstrip().startswith("#"))
    return [line for line in lines if PINNED.fullmatch(line) is None]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_is_pinned_and_hashed(name: str) -> None:
    """Nothing else is in a lock file: no index, no host, no path, no range."""
    text = (ROOT / "requirements" / name).read_text()
    assert unhashed(text) == []
    assert text.count("==") > 10
    assert "://" not in text


@pytest.mark.parametrize(
    "line", ["httpx>=0.28", "httpx==0.28.1", "--extra-index-url https://example.com/simple", "-e ."]
)
def test_a_line_that_is_not_pinned_and_hashed_is_noticed(line: str) -> None:
    """The control."""
    assert unhashed(f"{line}\n") == [line]


def test_every_install_requires_hashes() -> None:
    """Each command of the Makefile that installs from a lock, and nothing else is installed."""
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    for line in installs:
        assert "--require-hashes -r" in line or "--no-deps --editable ." in line or line.endswith("pip-tools"), line
