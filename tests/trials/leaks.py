"""Failure paths through the real command line, and a search for secrets in everything they leave behind.

    make trial NAME=leaks

Runs all paths against a sandbox; exit code 1 when a needle is found anywhere but (for content) in the warehouse, or a
path ends as a defect. Before that, requests are led to hostile URLs; none may get a credential. The searched forms of a
secret: plain, percent-encoded, base64 at each alignment, the Basic header, each also in UTF-16 and as JSON escapes it;
what SQLite holds compressed is unpacked.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, quote_plus

from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4
"""Paths at once, each part with a source and a DAGSTER_HOME of its own: most of the time is waiting."""

MARKER = "patient-says-it-hurts-0451"
SIGNATURE = "5ignature0fGreatPower"
SECRETS = {
    "TWILIO_DELETE_API_SECRET": "delete/secret+3c9a",
    "TWILIO_API_SECRET": "key/secret+77d1",
    "EXPORT_ALERT_WEBHOOK": "http://127.0.0.1:1/hook/h00k-s3cret-91",
    "EXPORT_SMTP_URL": "smtp://user:sm%2Ftp-pa55word@127.0.0.1:1",
}
WORDS = ("delete/secret+3c9a", "key/secret+77d1", "h00k-s3cret-91", "sm/tp-pa55word")

OPERATIONS = (
    "ListRecording",
    "ListRecordingAddOnResult",
    "ListRecordingAddOnResultPayload",
    "FetchRecordingAddOnResultPayloadData",
    "Content",
)
_ROW = {"sid": "XR" + "0" * 32, "status": MARKER, "date_created": MARKER, "duration": MARKER, "price": {"x": MARKER}}
_KEYS = ("recordings", "add_on_results", "payloads")
_SIGNED = f"https://127.0.0.1/x?X-Amz-Signature={SIGNATURE}"


def _page(row: object, following: str | None = None) -> bytes:
    return json.dumps({"next_page_uri": following, **{key: [row] for key in _KEYS}, "redirect_to": _SIGNED}).encode()


REPLIES: Mapping[str, Reply] = {
    **{
        f"{status}": Reply(status, json.dumps({"code": 20003, "message": f"{MARKER} {_SIGNED}"}).encode())
        for status in (400, 401, 403, 404, 409, 410, 418, 500, 503)
    },
    "html": Reply(200, f"<html>{MARKER} {_SIGNED}</html>".encode(), "text/html"),
    "empty": Reply(200, b""),
    "not JSON": Reply(200, f"{{{MARKER}".encode()),
    "not UTF-8": Reply(200, b'{"recordings": ["\xff' + MARKER.encode()),
    "list": Reply(200, json.dumps([MARKER, _SIGNED]).encode()),
    "row of text": Reply(200, _page(MARKER)),
    "row of nulls": Reply(200, _page({"sid": None, "status": MARKER, "uri": _SIGNED})),
    "row of nonsense": Reply(200, _page(_ROW)),
    "row of surrogates": Reply(200, _page({**_ROW, "status": "\ud800" + MARKER})),
    "row of numbers": Reply(200, _page({**_ROW, "status": 10**30, "add_on_sid": [MARKER]})),
    "path SID": Reply(200, _page({**_ROW, "sid": f"../../{MARKER}\n"})),
    "next page elsewhere": Reply(200, _page(_ROW, _SIGNED)),
    "next page itself": Reply(200, _page(_ROW, f"/2010-04-01/Accounts.json?{SIGNATURE}")),
    "encoded": Reply(200, MARKER.encode(), "text/plain", (("content-encoding", "gzip"),)),
    "redirect": Reply(302, b"", None, (("location", _SIGNED),)),
    "redirect inside": Reply(307, b"", None, (("location", f"http://10.0.0.1/?{SIGNATURE}"),)),
    "redirect nowhere": Reply(307, b"", None, (("location", f"http://127.0.0.1:1/?{SIGNATURE}"),)),
    "redirect broken": Reply(307, b"", None, (("location", f"http://[::1/{MARKER}?{SIGNATURE}"),)),
    "plain": Reply(200, MARKER.encode(), "text/plain"),
}


@dataclass(frozen=True)
class Failing:
    """One way to fail: a command line, its settings, and what the source answers to one operation."""

    name: str
    arguments: tuple[str, ...] = ("export",)
    environment: Mapping[str, str] = field(default_factory=dict)
    operation: str = ""
    reply: Reply | None = None
    broken: str = ""


def paths() -> Iterator[Failing]:
    """All failure paths."""
    for operation in OPERATIONS:
        for name, reply in REPLIES.items():
            yield Failing(f"{operation}: {name}", operation=operation, reply=reply)
    settings = {
        "TWILIO_ACCOUNT_SID": ("", "AC12", "x"),
        "TWILIO_AUTH_TOKEN": ("",),
        "TWILIO_BASE_URL": ("http://api.example.com", "ftp://x", "https://key/secret+77d1:x@h", "http://127.0.0.1:1"),
        "TWILIO_MAX_CONCURRENCY": ("many", "0"),
        "TWILIO_SUBACCOUNTS": ("AC1", "all,none"),
        "TWILIO_API_KEY": ("SK1",),
        "EXPORT_ROOT": ("s3://bucket/x", "/proc/nowhere", "/dev/null/x", "a*b"),
        "EXPORT_DESTINATION": ("csv",),
        "EXPORT_SHARED_READ": ("world",),
        "EXPORT_SETTLE_HOURS": ("-1",),
        "EXPORT_LOOK_BACK_DAYS": ("0",),
        "EXPORT_DELETE_SCHEDULE": ("* * * * *",),
        "EXPORT_START_DATE": ("yesterday",),
        "DAGSTER_HOME": ("/proc/nowhere", "/dev/null"),
    }
    for variable, values in settings.items():
        for value in values:
            yield Failing(f"{variable}={value}", environment={variable: value})
    for value in ("x", "http://h00k-s3cret-91/", "file:///h00k-s3cret-91", "https://h00k-s3cret-91@host/"):
        yield Failing(f"webhook {value}", environment={"EXPORT_ALERT_WEBHOOK": value})
    for arguments in (
        ("verify",), ("verify", "--json"), ("status",), ("status", "--json"), ("rebuild",), ("nonsense",),
        ("export", "--from", "x"), ("export", "--from", "2026-11-20", "--to", "2026-11-01"), ("delete",),
        ("delete", "apply", "none.json", "--confirm", "x"), ("delete", "apply", "/dev/null", "--confirm", "x"),
        ("delete", "plan", "--from", "2026-11-01", "--to", "2026-11-02", "--out", "/proc/x"),
        ("delete", "plan", "--from", "2026-11-01", "--to", "2026-11-02", "--out", "plan.json"),
    ):  # fmt: skip
        yield Failing(" ".join(arguments), arguments)
    for broken in ("_commits", "addons.duckdb", "contents", "add_on_results", "recordings"):
        for arguments in (("export", "--full"), ("verify",), ("status",), ("rebuild",)):
            yield Failing(f"{arguments[0]} with damaged {broken}", arguments, broken=broken)


def needles(token: str, account: str) -> dict[bytes, str]:
    """What must not be found, and what it is."""
    found: dict[bytes, str] = {}
    for secret in (token, *WORDS):
        forms = {secret, quote(secret, safe=""), quote_plus(secret)}
        # base64 of the secret within any text, without the letters that depend on its neighbours
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + secret.encode()).decode().rstrip("=")
            forms |= {coded[(0, 2, 3)[shift] : -2], coded[(0, 2, 3)[shift] : -2].replace("+", "-").replace("/", "_")}
        forms.add(base64.b64encode(f"{account}:{secret}".encode()).decode())
        found |= dict.fromkeys((coding for form in forms for coding in _codings(form)), "a secret")
    for form, kind in ((SIGNATURE, "a signed URL"), ("Signature=", "a signed URL"), (MARKER, "content")):
        found |= dict.fromkeys(_codings(form), kind)
    return found


def _codings(form: str) -> Iterator[bytes]:
    """A text as UTF-8 and UTF-16 have it, and as JSON may escape it."""
    yield from (form.encode(), form.encode("utf-16-le"), form.encode("utf-16-be"))
    yield from (form.replace("/", "\\/").encode(), form.replace("/", "\\u002f").encode())
    yield form.replace("/", "\\u002F").replace("+", "\\u002B").encode()


def hits(data: bytes, wanted: Mapping[bytes, str]) -> set[str]:
    """What of `wanted` is in `data`."""
    return {kind for needle, kind in wanted.items() if needle in data}


def unpacked(file: Path) -> bytes:
    """The bytes of a file, and what is compressed in the tables of one that is SQLite's, as Dagster keeps its jobs."""
    data = file.read_bytes()
    if not data.startswith(b"SQLite format 3\0"):
        return data
    parts = [data]
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    with contextlib.suppress(zlib.error):
                        parts.append(zlib.decompress(value) if isinstance(value, bytes) else b"")
    return b"\n".join(parts)


class Searched:
    """Runs paths in a folder of their own with one DAGSTER_HOME, and searches what they leave."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.home, self.temporary = folder / "home", folder / "tmp"
        self.temporary.mkdir()
        self.wanted = needles(sandbox.auth_token, sandbox.account_sid)
        self.number = 0

    def run(self, path: Failing) -> tuple[int, list[str]]:
        """Exit code, and what was found where."""
        self.number += 1
        work = self.folder / f"{self.number}"
        work.mkdir()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))}
        env = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
            "DAGSTER_HOME": str(self.home),
            "PYTHONASYNCIODEBUG": "1",
            **self.sandbox.environment,
            **SECRETS,
            "TWILIO_API_SECRET": "",
            "TWILIO_DELETE_API_KEY": "SKdelete",
            "EXPORT_ALERT_EMAIL_TO": "a@example.com",
            "EXPORT_ALERT_EMAIL_FROM": "a@example.com",
            **path.environment,
        }
        if "TWILIO_API_KEY" in path.environment:
            env["TWILIO_API_SECRET"] = SECRETS["TWILIO_API_SECRET"]
        env = {name: value for name, value in env.items() if value}
        if path.broken:
            self._command(("export",), work, env)
            self._break(work / "data", path.broken)
        self.sandbox.settings.intercept = lambda request: self._answer(path, request)
        done = self._command(path.arguments, work, env)
        self.sandbox.settings.intercept = None
        found = [f"{kind} in the output" for kind in hits(done.stdout + done.stderr, self.wanted)]
        return done.returncode, found + self._search(work)

    def _answer(self, path: Failing, request: Request) -> Reply | None:
        return path.reply if path.operation and request.operation == path.operation else None

    def _command(
        self, arguments: tuple[str, ...], work: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "assets.cli", *arguments]
        return subprocess.run(command, cwd=work, env=env, capture_output=True, timeout=300, check=False)

    def _break(self, root: Path, what: str) -> None:
        """Overwrite the middle of every file of a part of the warehouse with content that must not be shown."""
        part = root / what
        files = [part] if part.is_file() else sorted(file for file in part.rglob("*") if file.is_file())
        for file in files:
            file.chmod(0o600)
            data = file.read_bytes()
            middle = len(data) // 2
            file.write_bytes(data[:middle] + MARKER.encode() + data[middle + len(MARKER) :])

    def _search(self, work: Path) -> list[str]:
        found = []
        for place in (work, self.home, self.temporary):
            for file in place.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    kinds = hits(unpacked(file), self.wanted)
                    if file.is_relative_to(work / "data"):
                        kinds -= {"content", "a signed URL"}  # it is what was delivered, kept as it was
                    found += [f"{kind} in {file.relative_to(self.folder)}" for kind in sorted(kinds)]
        return found


def confined(urls: int) -> bool:
    """Whether no request that is led to so many hostile URLs goes where it must not."""
    tests = ["-q", "-p", "no:cacheprovider", "tests/pipelines/twilio/test_confinement.py"]
    env = {**os.environ, "HOSTILE_URLS": str(urls)}
    return not subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=ROOT, env=env, check=False).returncode


def main() -> None:
    """Run all paths, or a sample."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--paths", type=int, default=0, help="how many; all when 0")
    parser.add_argument("--urls", type=int, default=500, help="how many hostile URLs; none when 0")
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    if options.urls and not confined(options.urls):
        sys.exit(1)
    chosen = list(paths())
    if options.paths:
        chosen = random.Random(options.seed).sample(chosen, options.paths)
    print(f"{len(chosen)} failure paths, seed {options.seed}", flush=True)  # noqa: T201  # a command
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = list(pool.map(_judge, [chosen[number::AT_ONCE] for number in range(AT_ONCE)]))
    codes = Counter(code for part in parts for code, _ in part)
    defects = codes[1]
    bad = sum(leaked for part in parts for _, leaked in part)
    print(f"{len(chosen)} failure paths, {bad} with leaks; exit codes {dict(sorted(codes.items()))}")  # noqa: T201
    sys.exit(bool(bad or defects))


def _judge(chosen: list[Failing]) -> list[tuple[int, bool]]:
    """Exit code of each path, and whether it leaked."""
    judged = []
    world = made_up_world(now=datetime.now(UTC), recordings=3)
    with tempfile.TemporaryDirectory() as folder, Sandbox(world) as sandbox:
        searched = Searched(Path(folder), sandbox)
        for path in chosen:
            code, found = searched.run(path)
            judged.append((code, bool(found)))
            if found or code == 1:
                print(f"{path.name}: exit {code}, {found[:5]}", flush=True)  # noqa: T201  # a command
            if len(judged) % 10 == 0:
                print(f"{len(judged)} of {len(chosen)}", flush=True)  # noqa: T201  # as above
    return judged


if __name__ == "__main__":
    main()
