"""Dagster's UI, its daemon and the server of our definitions, together: begun by one command, ended with it.

The web application runs in this process, behind `assets.cli.front`, so that there is no port without it. The
definitions are served on a socket in a folder that nobody else gets into, whatever the umask; daemon and UI share that
server.
"""

import asyncio
import contextlib
import errno
import fcntl
import html
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from assets.cli.front import Door, Front
from assets.runs.home import dagster_home, home_errors
from assets.runs.instance import check_launching, opened
from assets.runs.whose import claim
from assets.terminal import say
from pipelines.environment import environment, trusted_writers
from pipelines.errors import FixConfiguration
from pipelines.settings import warehouse_settings
from pipelines.variables import UI_TOKEN
from warehouse.store.flocks import flock, unlock

PORT = 3000
"""Where the UI is when nobody says otherwise and the port is free."""

PATIENCE = 180.0
"""Seconds until the definitions must be served."""

END_SECONDS = 60.0
"""How long what is running is waited for at the end: a run lands what it has in hand."""

LOCATION = "addon_export"


def serve_ui(*, port: int | None, read_only: bool, proxy: str | None, token: str | None, browser: bool) -> None:
    """Serve until interrupted.

    Args:
        port: on this machine; None takes PORT, or any that is free.
        read_only: nothing can be changed in the UI, and no daemon is started.
        proxy: host name of a proxy that asks who somebody is, and then sends `token`; None without one.
        token: what the proxy sends; without a proxy a fresh one is made.
        browser: open the address in a browser.

    Raises:
        FixConfiguration: the port or DAGSTER_HOME cannot be used, or a part ended by itself and has said why.
    """
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Dagster's parts ignore SIGTERM where SIGINT is ignored
    root = warehouse_settings(environment()).root
    home = dagster_home(root)
    with contextlib.ExitStack() as stack:
        lock = None if read_only else stack.enter_context(_only_daemon(home))
        listening = stack.enter_context(_listening(port))
        private = stack.enter_context(_private_folder())
        stack.enter_context(home_errors())
        instance = stack.enter_context(opened(home))
        check_launching(instance, home)
        claim(instance, root, trusted_writers(environment()))
        server = _start(stack, _code_server(private), private)
        _wait_for_definitions(server, private)
        parts = {"The server of the definitions": server}
        if lock is not None:
            parts["The daemon"] = _start(stack, _daemon(private), private, lock)
        door = _door(listening.getsockname()[1], proxy=proxy, token=token)
        app = stack.enter_context(
            _web_application(instance, private / "workspace.yaml", door.prefix, read_only=read_only)
        )
        _announce(door, proxy, private if browser else None, read_only=read_only)
        ended = asyncio.run(_serve(Front(app, door), listening, parts))
        if ended is not None:
            raise FixConfiguration(f"{ended} ended by itself, and the UI with it; the reason is above. Start it again.")


def _door(port: int, *, proxy: str | None, token: str | None) -> Door:
    if proxy is not None:
        assert token is not None
        origins = frozenset({f"https://{proxy}", f"http://{proxy}"})
        return Door(token, "", frozenset({proxy}), origins)
    suffix = "" if port == 80 else f":{port}"  # browsers leave the usual one out
    hosts = frozenset({f"127.0.0.1{suffix}", f"localhost{suffix}"})
    prefix, made = f"/{secrets.token_urlsafe(12)}", secrets.token_urlsafe(32)
    return Door(made, prefix, hosts, frozenset(f"http://{host}" for host in hosts))


def _announce(door: Door, proxy: str | None, private: Path | None, *, read_only: bool) -> None:
    """Say where it is, once; a browser is opened by a file, since others see what a command is started with."""
    if proxy is not None:
        say(f"Dagster's UI answers the proxy of {proxy}. Ctrl-C ends it.")
        return
    host = min(door.hosts)
    address = f"http://{host}{door.prefix}/?token={door.token}"
    say(f"Dagster's UI is on {address}")
    can = "see every run" if read_only else "start, stop and remove runs"
    say(f"Whoever has this address can {can}: keep it to yourself. Ctrl-C ends it.")
    if private is not None:
        page = private / "open.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(address)}">')
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(page.as_uri())


async def _serve(app: Front, listening: socket.socket, parts: Mapping[str, "subprocess.Popen[bytes]"]) -> str | None:
    """Serve until a signal; or until a part ends, whose name is returned."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses hold the token
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    ended: str | None = None
    while not serving.done():
        await asyncio.wait({serving}, timeout=0.5)
        ended = next((name for name, part in parts.items() if part.poll() is not None), None)
        server.should_exit = server.should_exit or ended is not None
    await serving
    return ended


@contextlib.contextmanager
def _web_application(instance: dg.DagsterInstance, workspace: Path, prefix: str, *, read_only: bool) -> Iterator[Any]:
    logging.getLogger("dagster-webserver").setLevel(logging.WARNING)
    instance.optimize_for_webserver(statement_timeout=15000, pool_recycle=3600, max_overflow=20)
    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(
        instance, version=__version__, read_only=read_only, workspace_load_target=target
    ) as context:
        yield create_app_from_workspace_process_context(context, prefix, 2000, lifespan=_lifespan)


@contextlib.asynccontextmanager
async def _lifespan(_: object) -> AsyncIterator[None]:
    with contextlib.suppress(asyncio.CancelledError):
        yield


@contextlib.contextmanager
def _only_daemon(home: Path) -> Iterator[int]:
    """Be the one that runs a daemon on this history: two would start everything twice.

    The lock is handed on to the daemon, so that one that outlives this process, which was killed, keeps it.
    """
    handle = os.open(home / ".ui.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    lock = None
    try:
        if (lock := flock(handle, fcntl.LOCK_EX, wait=False)) is None:
            raise FixConfiguration(
                f"Another `addon-export ui`, or the daemon of one that was killed, runs on {home}; end it, or "
                "add --read-only to look on beside it."
            )
        yield lock
    finally:
        unlock(handle, lock)


@contextlib.contextmanager
def _listening(port: int | None) -> Iterator[socket.socket]:
    """A socket on this machine only."""
    wanted = [port] if port is not None else [PORT, 0]
    for each in wanted:
        try:
            made = socket.create_server(("127.0.0.1", each))
        except OSError as error:
            if each == wanted[-1]:
                raise FixConfiguration(f"Port {each} cannot be used: {os.strerror(error.errno or 0)}.") from error
            continue
        with made:
            yield made
        return


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that nobody else gets into, with a path that is short enough for the name of a socket."""
    longest = 60
    base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="addon-export-", dir=base if len(base) < longest else "/tmp") as folder:  # noqa: S108  # mkdtemp makes it private
        private = Path(folder)
        (private / "workspace.yaml").write_text(
            f"load_from:\n  - grpc_server:\n      host: localhost\n      socket: {private / 'code.sock'}\n"
            f"      location_name: {LOCATION}\n"
        )
        yield private


def _code_server(private: Path) -> list[str]:
    root = str(Path(__file__).resolve().parents[2])
    return [
        *("-m", "dagster", "api", "grpc", "--socket", str(private / "code.sock"), "--location-name", LOCATION),
        *("--module-name", "assets.definitions", "--working-directory", root, "--log-level", "warning"),
    ]


def _daemon(private: Path) -> list[str]:
    return ["-m", "dagster._daemon", "run", "-w", str(private / "workspace.yaml"), "--log-level", "warning"]


def _start(
    stack: contextlib.ExitStack, arguments: Sequence[str], private: Path, *handed_on: int
) -> "subprocess.Popen[bytes]":
    """Start a part as a group of processes of its own, which ends with the stack."""
    hidden = {name: value for name, value in os.environ.items() if name != UI_TOKEN.name}
    # what Dagster makes in the folder for temporary files, sockets too, is then private under every umask; and a folder
    # `assets` where the command was started is not taken for ours
    environment = {**hidden, "TMPDIR": str(private), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=handed_on)  # noqa: S603  # ours
    stack.callback(_end, process)
    return process


def _wait_for_definitions(server: "subprocess.Popen[bytes]", private: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not _accepts(private / "code.sock"):
        if server.poll() is not None or time.monotonic() > until:
            raise FixConfiguration("The definitions cannot be served; the reason is above.")
        time.sleep(0.1)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trying:
        try:
            trying.connect(str(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return False
            raise
        return True


def _end(process: "subprocess.Popen[bytes]", *, sleep: Callable[[float], None] = time.sleep) -> None:
    """End a part and all that it started: politely, and after a time for good."""
    until = time.monotonic() + END_SECONDS
    _signal_group(process, signal.SIGTERM)
    try:
        while time.monotonic() < until and (process.poll() is None or _signal_group(process, 0)):
            sleep(0.1)
    finally:  # also when somebody does not want to wait for it
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Whether the group was there to get the signal."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says so of a group of zombies
        return False
    return True
