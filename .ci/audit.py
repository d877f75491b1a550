"""Search every tracked file for secrets, and the locked dependencies for known vulnerabilities.

    make audit

Findings that somebody has looked at are in `.ci/secrets.json`, by hash. Before the search, secrets of the kinds that
matter here are planted in a file of their own and must be found. Where the vulnerability service cannot be reached, or
knows none of the packages, nobody was asked: that is the last line, and where REQUIRE_AUDIT is set the exit code is 2.
Where it knows only some, the others are named.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / ".ci" / "secrets.json"
NOBODY_ASKED = 2
"""Exit code, where REQUIRE_AUDIT is set, when the vulnerability service could not be asked of a single package."""

SECONDS = 300
"""Longest to wait for the vulnerability service."""


def planted() -> dict[str, str]:
    """Made-up secrets by what they are."""
    return {
        "Twilio auth token": f'auth_token = "{secrets.token_hex(16)}"',
        "Twilio API key": f'key = "SK{secrets.token_hex(16)}"',
        "password in a URL": f"url = smtps://user:{secrets.token_hex(8)}@mail.example:465",
        "AWS key": f'aws = "AKIA{secrets.token_hex(8).upper()}"',
        "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    }


def found_in(path: Path) -> bool:
    """Whether the search, as it is set up for the files, finds a secret in a file."""
    known = json.loads(BASELINE.read_text())
    collection = SecretsCollection()
    with transient_settings({"plugins_used": known["plugins_used"], "filters_used": known["filters_used"]}):
        collection.scan_file(str(path))
    return any(True for _ in collection)


def unseen_secrets() -> list[str]:
    """Files and lines with something that looks like a secret and that nobody has looked at."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607  # git of the PATH
    known = json.loads(BASELINE.read_text())
    accepted = {(name, item["hashed_secret"]) for name, items in known["results"].items() for item in items}
    unseen = []
    with transient_settings({"plugins_used": known["plugins_used"], "filters_used": known["filters_used"]}):
        for name in files.decode().rstrip("\0").split("\0"):
            if name == str(BASELINE.relative_to(ROOT)) or name.startswith("requirements/"):
                continue  # hashes
            collection = SecretsCollection(root=str(ROOT))
            collection.scan_file(name)
            unseen += [
                f"{file}:{item.line_number}: {item.type}"
                for file, item in collection
                if (file, item.secret_hash) not in accepted
            ]
    return unseen


LOCKS = ("requirements/dev.txt", "requirements/bench.txt", "requirements/audit.txt")
"""The first has all that is installed for users and developers; each may lock other versions of the same packages."""


def audited(lock: str) -> list[dict[str, Any]]:
    """What the service says of each package of one lock file.

    Raises:
        ValueError: it said nothing; the reason in one line.
    """
    command = ["-m", "pip_audit", "-r", lock, "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments
            [sys.executable, *command], cwd=ROOT, capture_output=True, timeout=SECONDS, check=False, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("no answer in time") from error
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except ValueError as error:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(reason[:200]) from error


def vulnerabilities() -> tuple[list[str], str, int]:
    """Known vulnerabilities of what is locked, a sentence on who was asked, and of how many packages the answer is."""
    try:
        found = [package for lock in LOCKS for package in audited(lock)]
    except ValueError as error:
        return [], f"asked nobody: 0 locked packages could be audited ({error})", 0
    packages = list({(package["name"], package.get("version")): package for package in found}.values())
    skipped = {package["name"] for package in packages if "skip_reason" in package}
    bad = [
        f"{package['name']} {package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'none'}"
        for package in packages
        for each in package.get("vulns", [])
    ]
    answered = sum("skip_reason" not in package for package in packages)
    if not answered:
        return [], f"asked nobody: 0 of {len(packages)} locked packages could be audited (the service knows none)", 0
    unknown = f"; it does not know {', '.join(sorted(skipped))}" if skipped else ""
    return bad, f"{len(bad)} known, {answered} of {len(packages)} locked packages audited{unknown}", answered


def main() -> None:
    """Exit 1 when something is found, or a planted secret is not; 2 when an answer is required and there is none."""
    with tempfile.TemporaryDirectory() as folder:
        missed = []
        for kind, text in planted().items():
            path = Path(folder) / "planted.py"
            path.write_text(text + "\n")
            missed += [] if found_in(path) else [f"A planted {kind} is not found."]
    unseen = unseen_secrets()
    bad, sentence, answered = vulnerabilities()
    for line in (
        *missed,
        *unseen,
        *bad,
        f"Secrets: {len(unseen)} new findings, {len(planted()) - len(missed)} of {len(planted())} planted ones found.",
        f"Vulnerabilities: {sentence}." if answered else f"THIS IS NO AUDIT of vulnerabilities: {sentence}.",
    ):
        print(line)  # noqa: T201  # a command
    sys.exit(1 if missed or unseen or bad else NOBODY_ASKED if not answered and os.environ.get("REQUIRE_AUDIT") else 0)


if __name__ == "__main__":
    main()
