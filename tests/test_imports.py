"""Importing a module does nothing: no file is written or asked for settings, and the process stays as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAM = """
import importlib, json, os, pathlib, signal, sys, warnings

root, here = pathlib.Path(sys.argv[1]), os.getcwd()
names = [
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    for package in ("assets", "pipelines", "warehouse")
    for path in sorted((root / package).rglob("*.py"))
]
touched = set()

def watch(event, arguments):
    if event == "open" or event.startswith(("os.mk", "os.re", "os.ch", "os.list", "os.scan", "sqlite3.connect")):
        path = arguments[0]
        path = os.fspath(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        path = os.path.abspath(os.fsdecode(path)) if path else ""
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (path.startswith(here) or written) and "__pycache__" not in path and path != os.devnull:
            touched.add(f"{event} {path}")
    elif event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.exec"):
        touched.add(event)

def state():
    mask = os.umask(0)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "umask": mask,
        "folder": os.getcwd(),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    }

for library in ("dagster", "dagster_webserver.app", "duckdb", "pyarrow.parquet", "httpx", "uvicorn", "rich.progress"):
    importlib.import_module(library)
before = state()
sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
after = state()
changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
print(json.dumps({"modules": len(names), "touched": sorted(touched), "changed": changed}))
"""


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    """Where there are settings and an archive that would be read, and an umask that would be changed.

    One variable is let be: Arrow reads its own when it is loaded, so `warehouse` sets it before.
    """
    (tmp_path / ".env").write_text("EXPORT_START_DATE=2026-01-01\n")
    (tmp_path / "data" / "_commits").mkdir(parents=True)
    (tmp_path / "home").mkdir(mode=0o755)
    given = {"ARROW_DEFAULT_MEMORY_POOL": "system", "DAGSTER_HOME": str(tmp_path / "home"), "SSLKEYLOGFILE": "keys"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(ROOT)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **given},
        umask=0o022,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["modules"] > 150
    assert (found["touched"], found["changed"]) == ([], {})
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o755
