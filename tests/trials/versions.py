"""Published files are read by older DuckDB clients: both destinations, every table and view, the same answers.

`make trial NAME=versions` installs each client into a folder of its own and asks there what this version answers here.
"""

import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb

from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.published.publish import publish
from warehouse.published.views import RELATIONS
from warehouse.schema import TABLES
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive

CLIENTS = ("1.4.5", "1.5.6")

ASK = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as db:
    db.execute("SET TimeZone = 'UTC'")
    answers = {name: sorted(map(str, db.execute(f"SELECT {what} FROM {name}").fetchall()))
        for name, what in json.loads(sys.argv[2]).items()}
    answers["catalog"] = [db.execute("SELECT current_database()").fetchall()[0][0]]
print(json.dumps([duckdb.__version__, answers]))
"""

WHAT = {
    **dict.fromkeys([*TABLES, *(relation.name for relation in RELATIONS)], "*"),
    "retention": "* EXCLUDE (hours_left)",
}


def main() -> None:
    """Try each client; exits 1 when one answers otherwise."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        archive = open_archive(Path(folder) / "root")
        samples = Path(__file__).parents[1] / "warehouse" / "published" / "samples"
        watson = (samples / "ibm_watson_response.json").read_bytes()
        for number, data in enumerate((watson, b'{"text": "made up"}', b"plain", b'{"a": 1}')):
            land_rows(archive, whole(number, data, is_text=True, done=NOON + timedelta(days=number)))
        land_rows(archive, whole(9, b"no day", is_text=True, done=None))
        destinations: tuple[Destination, ...] = ("duckdb", "parquet")
        for version in CLIENTS:
            python = _client(Path(folder) / version, version)
            for destination in destinations:
                publish(archive, destination, now=NOON)
                answers = [_asked(who, archive.root / PUBLISHED) for who in (sys.executable, python)]
                same = answers[0][1] == answers[1][1]
                wrong += not same
                sys.stdout.write(
                    f"{destination:<8} written by {duckdb.__version__}, read by {answers[1][0]}: same={same}\n"
                )
    raise SystemExit(1 if wrong else 0)


def _client(folder: Path, version: str) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-qq", f"duckdb=={version}", "pytz"], check=True)
    return python


def _asked(python: str, path: Path) -> tuple[str, dict[str, list[str]]]:
    done = subprocess.run([python, "-c", ASK, str(path), json.dumps(WHAT)], check=True, capture_output=True, text=True)
    version, answers = json.loads(done.stdout)
    return version, answers


if __name__ == "__main__":
    main()
