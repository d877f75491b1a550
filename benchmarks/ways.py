"""The ways to the same rows: the product's own command, and what a user would otherwise write.

Each is a command in a process of its own that is told by the environment where the API is and where to land,
and says by four queries where in its DuckDB file the results are.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data
from benchmarks.running import ROOT, Server

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The interpreter that has what the peers need; `BENCH_PEERS_PYTHON` names another."""

_PLAIN_QUERIES = {
    "recordings": "SELECT sid FROM recordings",
    "add_on_results": "SELECT sid FROM add_on_results",
    "add_on_payloads": "SELECT sid FROM add_on_payloads",
    "contents": "SELECT payload_sid, content FROM contents",
}
_DLT_QUERIES = {name: query.replace(" FROM ", " FROM twilio.") for name, query in _PLAIN_QUERIES.items()}


@dataclass(frozen=True, slots=True)
class Way:
    """One way: how to start it, and how to read what it landed.

    Attributes:
        name: in tables and for `--only`.
        command: the command line.
        environment: further variables, given the server, the folder to work in and the greatest cap.
        database: the DuckDB file, below the folder.
        queries: as `check` wants them.
    """

    name: str
    command: tuple[str, ...]
    environment: Callable[[Server, Path, int], Mapping[str, str]]
    database: str
    queries: Mapping[str, str]

    def full_environment(self, server: Server, folder: Path, cap: int) -> dict[str, str]:
        """All variables: those of this process that concern none of the ways, and the way's own."""
        foreign = ("TWILIO_", "EXPORT_", "DAGSTER_", "BENCH_", "DLT_", "EXTRACT__", "PYTHON")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        account = {
            "TWILIO_ACCOUNT_SID": data.ACCOUNT,
            "TWILIO_AUTH_TOKEN": "0" * 32,
            "TWILIO_BASE_URL": server.url,
            "PYTHONPATH": str(ROOT),
        }
        return {**inherited, **account, **self.environment(server, folder, cap)}


def _ours(server: Server, folder: Path, cap: int) -> Mapping[str, str]:
    # it is not told the cap, only a ceiling that is no lower
    return {
        "EXPORT_ROOT": str(folder / "data"),
        "DAGSTER_HOME": str(folder / "dagster"),
    }


OURS = Way("addon-export", (sys.executable, "-m", "assets.cli", "export"), _ours, "data/addons.duckdb", _PLAIN_QUERIES)


def _peer(server: Server, folder: Path, cap: int) -> Mapping[str, str]:
    return {"BENCH_DATABASE": str(folder / "landed.duckdb"), "BENCH_CAP": str(cap)}


def _dlt(server: Server, folder: Path, cap: int) -> Mapping[str, str]:
    # threads as many as the cap, and twice as many items under way: dlt's defaults are 5 and 20
    return {
        **_peer(server, folder, cap),
        "EXTRACT__WORKERS": str(cap),
        "EXTRACT__MAX_PARALLEL_ITEMS": str(2 * cap),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(folder / "dlt"),
    }


def _peer_way(
    name: str,
    module: str,
    environment: Callable[[Server, Path, int], Mapping[str, str]] = _peer,
    queries: Mapping[str, str] = _PLAIN_QUERIES,
) -> Way:
    python = os.environ.get("BENCH_PEERS_PYTHON", str(PEERS_PYTHON))
    return Way(name, (python, "-m", f"benchmarks.peers.{module}"), environment, "landed.duckdb", queries)


WAYS = (
    OURS,
    _peer_way("twilio", "twilio_sync"),
    _peer_way("twilio-async", "twilio_async"),
    _peer_way("httpx", "httpx_async"),
    _peer_way("dlt", "dlt_rest_api", _dlt, _DLT_QUERIES),
)
