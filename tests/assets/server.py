"""A process that has imported what a command needs, and forks for each command: start-up alone takes seconds.

A command reads its environment as if it had been started anew: of the product only modules are imported here that do
nothing while they are imported. `assets.partitions`, which counts the days then, and all that imports it are not.
"""

import atexit
import gc
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, NoReturn

LIBRARIES = (
    "alembic.runtime.migration",
    "dagster",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.execute_in_process",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.secrets.env_file",
    "dagster._core.storage.base_storage",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.storage.noop_compute_log_manager",
    "dagster._core.storage.sqlite_storage",
    "dotenv",
    "duckdb",
    "httptools",
    "httpx",
    "msgspec",
    "pandas",  # Arrow looks for it
    "pyarrow.compute",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "upath.implementations.local",
)

OURS = (
    "assets.cli.main",
    "assets.runs.pool",
    "assets.runs.switched_off",
    "pipelines.delete.apply",
    "pipelines.export",
    "pipelines.monitoring.checks",
    "pipelines.monitoring.status",
    "pipelines.opening",
    "warehouse.published.query",
    "warehouse.upkeep.repair",
)
"""Modules of the product that import nearly all of it."""


class Server:
    """Runs `addon-export`, one command after the other."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process that forks has no threads
        )
        theirs.close()

    def run(
        self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str], *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in this process's umask.

        Raises:
            TimeoutError: it takes longer than `timeout` seconds.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self.run_into((out, err), arguments, folder, environment, timeout=timeout)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())

    def run_into(
        self,
        streams: tuple[IO[Any], IO[Any]],
        arguments: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        *,
        timeout: float,
        largest: int | None = None,
    ) -> int:
        """The same into streams of one's own, and no file beyond `largest` bytes; returns the exit code."""
        mask = os.umask(0)
        os.umask(mask)
        request = json.dumps([arguments, str(folder), environment, mask, largest]).encode()
        self._socket.settimeout(timeout)
        socket.send_fds(self._socket, [request], [stream.fileno() for stream in streams])
        return int(self._socket.recv(100))

    def close(self) -> None:
        """End it, and what it may be running."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


def serve(requests: socket.socket) -> NoReturn:
    """Fork for each request until there are no more; a child goes on to be the command."""
    for module in LIBRARIES + OURS:
        __import__(module)
    assert "assets.partitions" not in sys.modules
    gc.freeze()
    while True:
        request, handles, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not request:
            os._exit(0)
        if not (child := os.fork()):
            requests.close()
            arguments, folder, environment, mask, largest = json.loads(request)
            for number, handle in enumerate(handles, start=1):
                os.dup2(handle, number)
                os.close(handle)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            os.umask(mask)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            _open_streams(os.environ.get("PYTHONIOENCODING", "utf-8"))
            os._exit(_run(arguments))  # taking down what was imported for nothing takes half a second
        for handle in handles:
            os.close(handle)
        _, status = os.waitpid(child, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


def _open_streams(encoding: str) -> None:
    """As an interpreter makes them: those of the server know where in a file it would write, and another encoding."""
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115  # as long as the process lives
    sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115  # as above


def _run(arguments: list[str]) -> int:
    from assets.cli.main import main

    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
