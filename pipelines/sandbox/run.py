"""Running the sandbox: `Sandbox` beside a test or a demo, `serve` for the command line.

Both origins listen on loopback addresses only, on ports of their own, in one background thread. Leaving the
`with` block stops the thread and frees the ports. The credentials are made up and open nothing real.
"""

import asyncio
import ipaddress
import secrets
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import uvicorn

from pipelines.sandbox.answers import Answers
from pipelines.sandbox.contents import ADD_ONS
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.server import Clock, Journal, Server, Settings
from pipelines.sandbox.world import World, add_on_sid

_PATIENCE = 10.0
"""Seconds to wait for the thread to start or to stop."""


class _Prompt(uvicorn.Server):
    """uvicorn's server, looking for the wish to stop ten times as often: tests start and stop many."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110  # uvicorn's flag is a bool, set from other threads
            await asyncio.sleep(0.01)


class Sandbox:
    """A running stand-in for Twilio; a context manager.

    Args:
        world: the data; made up, with its defaults, when None. Change it while it runs as you like.
        now: the source's clock stands still at this instant until `now` is set or `advance` called;
            with None it runs with the real one.
        settings: cap on concurrency, latency, interception; changeable while it runs.
        url_lifetime: how long a signed content URL is good, by the source's clock.
        host: a loopback address.
        port: the API's port, 0 for any free one.
        journal: where requests are written down.

    Raises:
        ValueError: host is not a loopback address.
        OSError: the port is taken.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        now: datetime | None = None,
        settings: Settings | None = None,
        url_lifetime: timedelta = timedelta(minutes=15),
        host: str = "127.0.0.1",
        port: int = 0,
        journal: Journal | None = None,
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the sandbox listens on loopback addresses only, not on {host}")
        self.clock = Clock(now)
        self.world = world or made_up_world(now=self.clock())
        self.settings = settings or Settings()
        self.journal = journal or Journal()
        self._url_lifetime = url_lifetime
        self._host, self._port = host, port
        self._failure: BaseException | None = None

    @property
    def now(self) -> datetime:
        """The source's clock."""
        return self.clock()

    @now.setter
    def now(self, moment: datetime) -> None:
        self.clock.set(moment)

    def advance(self, by: timedelta) -> None:
        """Move the source's clock forward."""
        self.clock.advance(by)

    @property
    def account_sid(self) -> str:
        """SID of the main account."""
        return next(iter(self.world.accounts))

    @property
    def auth_token(self) -> str:
        """The main account's made-up token."""
        return self.world.accounts[self.account_sid].auth_token

    @property
    def environment(self) -> dict[str, str]:
        """The settings that point the exporter here."""
        return {
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWILIO_BASE_URL": self.base_url,
            "TWILIO_ADDON_NAMES": ",".join(f"{add_on_sid(add_on.name)}={add_on.name}" for add_on in ADD_ONS),
        }

    def __enter__(self) -> Self:
        api = socket.create_server((self._host, self._port), family=_family(self._host), backlog=2048)
        storage = socket.create_server((self._host, 0), family=_family(self._host), backlog=2048)
        self.base_url, self.storage_url = _url(api), _url(storage)
        answers = Answers(
            self.world,
            secret=secrets.token_bytes(16),
            storage_url=self.storage_url,
            url_lifetime=self._url_lifetime,
        )
        app = Server(
            answers,
            clock=self.clock,
            settings=self.settings,
            journal=self.journal,
            storage_port=storage.getsockname()[1],
        )
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Prompt(config)
        self._thread = threading.Thread(target=self._run, args=([api, storage],), name="sandbox", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _PATIENCE
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self._server.should_exit = True
                raise RuntimeError("the sandbox did not start") from self._failure
            time.sleep(0.002)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("the sandbox did not stop") from self._failure

    def _run(self, sockets: list[socket.socket]) -> None:
        try:
            self._server.run(sockets)
        except BaseException as failure:  # re-raised in the thread that waits
            self._failure = failure
        finally:
            for each in sockets:
                each.close()


def serve(
    host: str = "127.0.0.1",
    port: int = 8800,
    *,
    recordings: int = 200,
    seed: int = 7,
    days: float = 30,
    cap: int | None = 100,
    latency: float = 0.0,
    many_results: int = 0,
    with_vendors: bool = True,
) -> None:
    """Run until interrupted (Ctrl-C), which ends it quietly.

    Prints on stdout, once listening, the three lines that point the exporter here; talk goes to stderr.

    Args:
        host: a loopback address.
        port: the API's port, 0 for any free one.
        recordings: how many recordings the main account has.
        seed: the same seed gives the same data, relative to now.
        days: over how many days before now they are spread.
        cap: requests an account may have in flight, None for any number.
        latency: seconds before each API reply.
        many_results: results of one more recording, 0 for no such recording.
        with_vendors: whether one more recording has a result in the form of each vendor.

    Raises:
        ValueError: host is not a loopback address.
        OSError: the port is taken.
    """
    now = datetime.now(UTC)
    world = made_up_world(
        now=now,
        seed=seed,
        recordings=recordings,
        days=days,
        many_results=many_results,
        with_vendors=with_vendors,
    )
    settings = Settings(cap=cap, latency=latency)
    try:
        with Sandbox(world, settings=settings, host=host, port=port, journal=Journal(limit=10_000)) as sandbox:
            key = world.add_key(sandbox.account_sid)
            deleting = {"TWILIO_DELETE_API_KEY": key.sid, "TWILIO_DELETE_API_SECRET": key.secret}
            sys.stdout.writelines(f"export {n}={value}\n" for n, value in {**sandbox.environment, **deleting}.items())
            sys.stdout.flush()
            sys.stderr.write(
                f"Made-up Twilio: {len(world.recordings)} recordings, {len(world.results)} add-on results. "
                "Press Ctrl-C to stop.\n"
            )
            threading.Event().wait()
    except KeyboardInterrupt:
        sys.stderr.write("Sandbox stopped.\n")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
