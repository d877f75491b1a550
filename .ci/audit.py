"""Search every tracked file for secrets, and the locked dependencies for known vulnerabilities.

    make audit

Findings that somebody has looked at are in `.ci/secrets.json`, by hash. Before the search, secrets of the kinds that
matter here are planted in a file of their own and must be found. Where the vulnerability service cannot be reached, or
does not know a package, that is said and fails nothing.
"""

import json
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ROOT / ".ci" / "secrets.json"
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
            if name == str(BASELINE.relative_to(ROOT)) or name.endswith("requirements.txt"):
                continue  # hashes
            collection = SecretsCollection(root=str(ROOT))
            collection.scan_file(name)
            unseen += [
                f"{file}:{item.line_number}: {item.type}"
                for file, item in collection
                if (file, item.secret_hash) not in accepted
            ]
    return unseen


def vulnerabilities() -> tuple[list[str], str]:
    """Known vulnerabilities of what is locked, and a sentence on what could not be asked."""
    locks = ("requirements-dev.txt", "benchmarks/requirements.txt", ".ci/requirements.txt")  # the first has all of ours
    command = ["-m", "pip_audit", *(part for lock in locks for part in ("-r", lock))]
    command += ["--no-deps", "--disable-pip", "-f", "json"]
    reason = "no answer in time"
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments
            [sys.executable, *command, "--progress-spinner", "off"],
            cwd=ROOT,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            text=True,
        )
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return [], f"Nothing was audited: {reason}."
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    bad = [
        f"{package['name']} {package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'none'}"
        for package in packages
        for each in package.get("vulns", [])
    ]
    told = f"{len(packages) - len(skipped)} of {len(packages)} locked packages audited"
    return bad, f"{told}; the service does not know the others." if skipped else f"{told}."


def main() -> None:
    """Exit 1 when something is found, or a planted secret is not."""
    with tempfile.TemporaryDirectory() as folder:
        missed = []
        for kind, text in planted().items():
            path = Path(folder) / "planted.py"
            path.write_text(text + "\n")
            missed += [] if found_in(path) else [f"A planted {kind} is not found."]
    unseen = unseen_secrets()
    bad, sentence = vulnerabilities()
    for line in (
        *missed,
        *unseen,
        *bad,
        f"Secrets: {len(unseen)} new findings, {len(planted()) - len(missed)} of {len(planted())} planted ones found.",
        f"Vulnerabilities: {len(bad)}. {sentence}",
    ):
        print(line)  # noqa: T201  # a command
    sys.exit(bool(missed or unseen or bad))


if __name__ == "__main__":
    main()
