"""What stands before Dagster's UI, which itself obeys whoever reaches it: any page in a browser, any local user.

It lets in who has the token. Changes come by POST with JSON, from a page of its own only: the names in Host and Origin
are compared, so that neither a page of another origin nor a name that was bound to this machine meanwhile gets through.
Cookies know hosts and paths but no ports, and another user of the machine may serve pages on another port: the cookie
with the token is therefore for one path, which nobody can guess.
"""

import hmac
import html
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "addon_export_ui"

HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),  # beside Dagster's own: both count
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
"""On every reply: nobody may frame it, open it with a handle on it, or learn its address."""


@dataclass(frozen=True, slots=True)
class Door:
    """Who is let in.

    Attributes:
        token: what a visitor must have.
        prefix: where the UI is, as /path; empty behind a proxy, which has the token in a header and needs no cookie.
        hosts: what may be in the header Host.
        origins: what may be in the header Origin.
    """

    token: str = field(repr=False)
    prefix: str = field(repr=False)
    hosts: frozenset[str]
    origins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refused:
    """Not let in: the status, and what to do in one sentence."""

    status: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Let in by the address with the token: gets the cookie, and is sent to the address without it."""


class Front:
    """The application that is served: passes on to `app` what the door lets in."""

    def __init__(self, app: App, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        verdict = judge(self._door, Asked(scope))
        if verdict is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif isinstance(verdict, Refused):
            await _reply(send, verdict.status, b"text/plain; charset=utf-8", f"{verdict.sentence}\n")
        else:
            await self._welcome(send)

    async def _welcome(self, send: Send) -> None:
        """A page, not a redirect: a browser keeps a strict cookie back on the way from another site's link."""
        door = self._door
        target = html.escape(f"{door.prefix}/", quote=True)
        page = f'<!doctype html><meta http-equiv="refresh" content="0;url={target}"><title>Opening</title>'
        cookie = f"{COOKIE}={door.token}; Path={door.prefix}/; HttpOnly; SameSite=Strict"
        await _reply(send, 200, b"text/html; charset=utf-8", page, [(b"set-cookie", cookie.encode("ascii"))])


class Asked:
    """What a request says of itself."""

    def __init__(self, scope: Scope) -> None:
        self.kind: str = scope["type"]
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self._headers: Sequence[tuple[bytes, bytes]] = scope["headers"]

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value.decode("latin-1") for key, value in self._headers if key.lower() == name.encode()]

    def one(self, name: str) -> str | None:
        """The value of a header; None without one, and what nothing equals when it is given twice."""
        values = self.all(name)
        return None if not values else values[0] if len(values) == 1 else "\0"

    @property
    def token(self) -> str | None:
        """The token in the address."""
        values = parse_qs(self.query.decode("latin-1"), keep_blank_values=True).get("token")
        return values[0] if values else None


def judge(door: Door, asked: Asked) -> Refused | Welcome | None:
    """Who is let in, and to do what; None passes the request on."""
    if asked.one("host") not in door.hosts:
        return Refused(403, "This name is not that of the UI; use the address that `addon-export ui` printed.")
    if not _own_page(door, asked):
        return Refused(403, "Another page asked for this; the UI answers its own pages only.")
    inside = asked.path == door.prefix or asked.path.startswith(f"{door.prefix}/")
    if not inside:
        return Refused(403, "Open the address that `addon-export ui` printed.")
    if door.prefix and asked.kind == "http" and asked.method == "GET" and (given := asked.token) is not None:
        return Welcome() if _same(given, door.token) else Refused(403, "The token is not that of this UI.")
    if not _has_token(door, asked):
        return Refused(403, "The token is missing; open the address that `addon-export ui` printed.")
    return None if asked.kind == "websocket" else _only_what_is_asked_for(door, asked)


def _own_page(door: Door, asked: Asked) -> bool:
    """Whether the request comes from a page of the UI, from outside of pages, or merely goes to one."""
    origin, site = asked.one("origin"), asked.one("sec-fetch-site")
    if origin is not None:
        return origin in door.origins
    goes_there = (asked.method, asked.one("sec-fetch-mode"), asked.one("sec-fetch-dest")) == (
        "GET",
        "navigate",
        "document",
    )
    return site in (None, "same-origin", "none") or goes_there


def _has_token(door: Door, asked: Asked) -> bool:
    """In the header Authorization, or in the cookie, which only the UI's own path gets."""
    scheme, _, given = (asked.one("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and _same(given.strip(), door.token):
        return True
    return bool(door.prefix) and any(_same(value, door.token) for value in _cookies(asked))


def _cookies(asked: Asked) -> list[str]:
    """Every value of ours: pages on other ports add cookies of the same name, or such as no reader of cookies likes."""
    pairs = (pair.strip().partition("=") for header in asked.all("cookie") for pair in header.split(";"))
    return [value for name, _, value in pairs if name == COOKIE]


def _only_what_is_asked_for(door: Door, asked: Asked) -> Refused | None:
    """Reading by GET; changing by POST of JSON to GraphQL, and by nothing else that Dagster offers."""
    graphql = asked.path.rstrip("/") == f"{door.prefix}/graphql"
    if asked.method in ("GET", "HEAD"):
        return Refused(405, "GraphQL is asked by POST.") if graphql and asked.query else None
    if asked.method != "POST" or not graphql:
        return Refused(405, "The UI takes GET, and POST to its GraphQL.")
    media = (asked.one("content-type") or "").partition(";")[0].strip().lower()
    return None if media == "application/json" else Refused(415, "GraphQL is asked with application/json.")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending


async def _reply(send: Send, status: int, media: bytes, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = text.encode()
    head = [(b"content-type", media), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    strict = [(b"content-security-policy", b"default-src 'none'")]
    await send({"type": "http.response.start", "status": status, "headers": [*head, *strict, *headers, *HEADERS]})
    await send({"type": "http.response.body", "body": body})
