"""Every engine reads the Delta logs as SQL reads `addons.duckdb`: while an archive changes, and after an erasure.

Each engine is installed into a folder of its own. The archive gets landings, changed rows, rows that move to another
day, deletions, a compaction and an erasure, and is published in between; after each publication every engine counts
rows, rows without a day, rows of one day, and hashes the keys of every table, as the commit itself is counted.

    make trial NAME=engines
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.warehouse.made_up import NOON, land_rows, later, logical, result, sid, whole
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, TABLES, Table
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.erase import Selection, erase

DAY = "2026-11-21"

PACKAGES = {
    "deltalake": ["deltalake==1.6.6", "pyarrow"],
    "polars": ["polars==2.1.0", "deltalake==1.6.6"],
    "duckdb": ["duckdb==1.5.5", "duckdb-extension-delta==1.5.5", "pyarrow", "pytz"],
    "daft": ["daft==0.7.26", "deltalake==1.6.6"],
    "chdb": ["chdb==4.4.0", "pyarrow"],
    "sail": ["pysail==0.7.2", "pyspark-client==4.2.0", "setuptools"],
}
"""What each engine is installed from."""

READ = """
import json, sys, hashlib
engine, root, tables = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def rows(path, columns):
    if engine == "deltalake":
        from deltalake import DeltaTable
        import pyarrow
        found = pyarrow.table(DeltaTable(path).to_pyarrow_table(columns=columns)).to_pydict()
    elif engine == "polars":
        import polars
        found = polars.scan_delta(path).select(columns).collect().to_dict(as_series=False)
    elif engine == "duckdb":
        import duckdb, duckdb_extension_delta, pathlib
        con = duckdb.connect()
        folder = pathlib.Path(duckdb_extension_delta.__file__).parent
        con.execute(f"LOAD '{next(folder.rglob('delta.duckdb_extension'))}'")
        asked = con.execute(f"SELECT {', '.join(columns)} FROM delta_scan('{path}')").fetchall()
        found = {name: [row[n] for row in asked] for n, name in enumerate(columns)}
    elif engine == "daft":
        import daft
        found = daft.read_deltalake(path).select(*columns).to_pydict()
    elif engine == "chdb":
        import chdb
        text = [f"toString({c}) AS {c}" for c in columns]
        asked = chdb.query(f"SELECT {', '.join(text)} FROM deltaLakeLocal('{path}')", "ArrowTable").to_pydict()
        found = {name: [v.decode() if isinstance(v, bytes) else v for v in values] for name, values in asked.items()}
    else:
        asked = spark.read.format("delta").load(path).select(*columns).collect()
        found = {name: [row[name] for row in asked] for name in columns}
    return found

if engine == "sail":
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession
    server = SparkConnectServer()
    server.start()
    spark = SparkSession.builder.remote(f"sc://localhost:{server.listening_address[1]}").getOrCreate()

answers = {}
for name, (key, part) in tables.items():
    found = rows(f"{root}/{name}", [key] + ([part] if part else []))
    days = [None if day is None else str(day)[:10] for day in found[part]] if part else []
    keys = hashlib.sha256("".join(sorted(found[key])).encode()).hexdigest()
    answers[name] = [len(found[key]), days.count(None), days.count(sys.argv[4]), keys]
print(json.dumps(answers))
sys.stdout.flush()
import os
os._exit(0)
"""


def main() -> None:
    """Try each engine after each change; exits 1 when one answers otherwise."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        engines = {engine: _installed(Path(folder) / engine, packages) for engine, packages in PACKAGES.items()}
        archive = open_archive(Path(folder) / "root")
        for step in changed(archive):
            expected = truth(archive)
            for engine, python in engines.items():
                answer = _asked(python, engine, archive.root)
                same = answer == expected
                wrong += not same
                sys.stdout.write(f"{step:<28} {engine:<10} same={same}\n")
                if not same:
                    sys.stdout.write(f"    {answer}\n    {expected}\n")
    raise SystemExit(1 if wrong else 0)


def changed(archive: Archive) -> Iterator[str]:
    """Change an archive step by step, published after each; yields what was done."""
    random = Random(7)
    days = [None, *(NOON + timedelta(days=day) for day in range(4))]

    def landed(first: int, hour: int) -> None:
        for number in range(first, first + 20):
            done = random.choice(days)
            land_rows(archive, whole(number, random.randbytes(50), at=later(hour), done=done))

    steps: dict[str, Callable[[], Any]] = {
        "landed": lambda: landed(0, 0),
        "landed more": lambda: landed(20, 1),
        "changed": lambda: land_rows(
            archive, [result(n, at=later(2), done=NOON + timedelta(days=5), payload_count=1) for n in range(8)]
        ),
        "deleted at Twilio": lambda: land_rows(archive, [result(9, at=later(3), deleted_at=later(3))]),
        "compacted": lambda: compact(archive, now=later(24 * 9), run_id="trial"),
        "erased": lambda: erase(archive, "parquet", _chosen, reason="asked for", now=later(24 * 9)),
    }
    for step, do in steps.items():
        do()
        publish(archive, "parquet", now=later(24 * 9))
        yield step


def _chosen(snapshot: Snapshot) -> Selection:
    chosen = Selection(record={sid("XR", 3): "add_on_result"})
    for table, kind in ((ADD_ON_RESULTS, "XR"), (ADD_ON_PAYLOADS, "XH"), (CONTENTS, "XH")):
        chosen.add(table, snapshot.holding(table, [sid(kind, 3)]))
    return chosen


def truth(archive: Archive) -> dict[str, list[Any]]:
    """What each table of the newest commit comes to: rows, rows without a day, rows of DAY, hash of the keys."""
    return {name: _summary(TABLES[name], rows) for name, rows in logical(archive, without=()).items()}


def _summary(table: Table, rows: list[dict[str, Any]]) -> list[Any]:
    days = (
        [None if row[table.partition] is None else str(row[table.partition]) for row in rows] if table.partition else []
    )
    keys = hashlib.sha256("".join(sorted(row[table.key] for row in rows)).encode()).hexdigest()
    return [len(rows), days.count(None), days.count(DAY), keys]


def _installed(folder: Path, packages: list[str]) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-qq", *packages], check=True)
    return python


def _asked(python: str, engine: str, root: Path) -> Any:
    tables = json.dumps({table.name: (table.key, table.partition) for table in TABLES.values()})
    script = root.parent / "read.py"
    script.write_text(READ)
    # chDB reads what is below the folder it runs in
    arguments = [python, str(script), engine, str(root), tables, DAY]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300, cwd=root)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr[-500:]


if __name__ == "__main__":
    main()
