"""A sandbox whose clock stands still, Twilio's own client pointed at it, and a plain HTTP client."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW


class Rewritten(TwilioHttpClient):  # type: ignore[misc]  # twilio ships no types
    """Twilio's HTTP client, sending to the sandbox what it would send to api.twilio.com."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send it to the sandbox."""
        assert url.startswith("https://api.twilio.com/")
        return super().request(method, url.replace("https://api.twilio.com", self.base_url), *args, **kwargs)


@pytest.fixture
def world() -> World:
    """A small made-up world."""
    return made_up_world(now=NOW, recordings=60)


@pytest.fixture
def empty() -> World:
    """One account without recordings."""
    world = World()
    world.add_account(date_created=NOW.replace(year=2020))
    return world


@pytest.fixture
def desk(empty: World) -> Iterator[Sandbox]:
    """A running sandbox without recordings, for a test to fill."""
    with Sandbox(empty, now=NOW) as running:
        yield running


def twilio_client(sandbox: Sandbox) -> Client:
    """Twilio's client with the main account's credentials."""
    return Client(sandbox.account_sid, sandbox.auth_token, http_client=Rewritten(sandbox.base_url))


def http(sandbox: Sandbox, user: str | None = None, password: str | None = None) -> httpx.Client:
    """An HTTP client with the main account's credentials, or others, on the API."""
    auth = (user or sandbox.account_sid, password or sandbox.auth_token)
    return httpx.Client(base_url=sandbox.base_url, auth=auth, trust_env=False)
