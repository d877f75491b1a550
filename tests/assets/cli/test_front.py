"""Who is let in to Dagster's UI: with the token, from its own pages, under its own name, and to read or POST JSON."""

import asyncio
from typing import Any

import pytest

from assets.cli.front import COOKIE, Asked, Door, Front, Message, Receive, Refused, Scope, Send, Welcome, judge

HOST, ORIGIN = "127.0.0.1:3000", "http://127.0.0.1:3000"
TOKEN = "a-token-that-nobody-can-guess-0123456789"
DOOR = Door(TOKEN, "/secret", frozenset({HOST, "localhost:3000"}), frozenset({ORIGIN, "http://localhost:3000"}))
JSON = {"content-type": "application/json"}
OWN = {"host": HOST, "cookie": f"{COOKIE}={TOKEN}"}


def asked(method: str = "GET", path: str = "/secret/", query: str = "", kind: str = "http", **headers: str) -> Scope:
    """A request; `_` in the name of a header is `-`."""
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": pairs}


def verdict(*arguments: str, **headers: Any) -> Refused | Welcome | None:
    """What becomes of a request, at `door` or at the one of all these tests."""
    door = headers.pop("door", DOOR)
    return judge(door, Asked(asked(*arguments, **{k.replace("-", "_"): v for k, v in headers.items()})))


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        (("GET",), {}),
        (("GET", "/secret/runs/1"), {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}),
        (("GET", "/secret/assets", "view=partitions"), {"sec-fetch-site": "none"}),
        (("POST", "/secret/graphql"), {**JSON, "origin": ORIGIN, "sec-fetch-site": "same-origin"}),
        (("POST", "/secret/graphql"), {"content-type": "application/json; charset=utf-8"}),
        (("GET", "/secret/graphql", "", "websocket"), {"origin": ORIGIN}),
        (("GET", "/secret/graphql"), {}),
        (
            ("GET", "/secret/runs/1"),
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        ),
    ],
)
def test_its_own_pages_are_answered(arguments: tuple[str, ...], headers: dict[str, str]) -> None:
    """With the cookie, and with the token as a bearer's; not with anything like it."""
    assert verdict(*arguments, **OWN, **headers) is None
    assert verdict(*arguments, host=HOST, authorization=f"Bearer {TOKEN}", **headers) is None
    for nearly in ("", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "é"):
        assert isinstance(verdict(*arguments, host=HOST, cookie=f"{COOKIE}={nearly}", **headers), Refused)
        assert isinstance(verdict(*arguments, host=HOST, authorization=f"Bearer {nearly}", **headers), Refused)
    assert isinstance(verdict(*arguments, host=HOST, **headers), Refused)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:3000", ""]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_another_origin_is_refused_whatever_it_has(origin: str, kind: str) -> None:
    """Also a page of another user on another port of this machine, and a file; also with the cookie."""
    assert isinstance(verdict("POST", "/secret/graphql", "", kind, **OWN, **JSON, origin=origin), Refused)


@pytest.mark.parametrize("other", [f"{COOKIE}=forged", 'a="', "{}=1", "=1", "Expires=1", "\xfc=1"])
def test_cookies_of_others_shut_nobody_out(other: str) -> None:
    """Pages of other users on other ports of this machine can set any for the whole of it, also of the same name."""
    for cookies in (f"{COOKIE}={TOKEN}; {other}", f"{other}; {COOKIE}={TOKEN}"):
        assert verdict("GET", host=HOST, cookie=cookies) is None
    assert isinstance(verdict("GET", host=HOST, cookie=f"{other}; x{COOKIE}={TOKEN}"), Refused)


@pytest.mark.parametrize("dest", ["iframe", "image", "script", "empty", "object"])
def test_what_another_page_embeds_is_refused(dest: str) -> None:
    """Browsers say so where there is no Origin."""
    mode = "navigate" if dest in ("iframe", "object") else "no-cors"
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        assert isinstance(verdict("GET", **OWN, **headers), Refused)


@pytest.mark.parametrize(
    "host", ["evil.example:3000", "127.0.0.1:3001", "127.0.0.1", "localhost", "LOCALHOST:3000", ""]
)
def test_a_name_that_was_bound_to_this_machine_is_refused(host: str) -> None:
    """Also when the page's origin is the same name; and a request without a name, or with two."""
    assert isinstance(verdict("GET", host=host, cookie=f"{COOKIE}={TOKEN}", origin=f"http://{host}"), Refused)
    assert isinstance(verdict("GET", cookie=f"{COOKIE}={TOKEN}"), Refused)
    twice = asked(**OWN)
    twice["headers"].append((b"host", b"evil.example"))
    assert isinstance(judge(DOOR, Asked(twice)), Refused)


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        (("GET", "/secret/graphql", "query=mutation{a}"), {}),
        (("GET", "/secret/graphql/", "query={version}"), {}),
        (("HEAD", "/secret/graphql", "query={version}"), {}),
        (("POST", "/secret/graphql"), {}),
        (("POST", "/secret/graphql"), {"content-type": "text/plain"}),
        (("POST", "/secret/graphql"), {"content-type": "text/plain; application/json"}),
        (("POST", "/secret/graphql"), {"content-type": "application/graphql"}),
        (("POST", "/secret/graphql", "query=mutation{a}"), {"content-type": "application/x-www-form-urlencoded"}),
        (("POST", "/secret/graphql"), {"content-type": "multipart/form-data; boundary=application/json"}),
        (("POST", "/secret/report_asset_materialization/add_on_results"), JSON),
        (("POST", "/secret/"), JSON),
        (("PUT", "/secret/graphql"), JSON),
        (("DELETE", "/secret/graphql"), JSON),
        (("OPTIONS", "/secret/graphql"), {}),
    ],
)
def test_nothing_is_changed_but_by_a_post_of_json_to_graphql(
    arguments: tuple[str, ...], headers: dict[str, str]
) -> None:
    """Even by who is in."""
    assert isinstance(verdict(*arguments, **OWN, **headers), Refused)


@pytest.mark.parametrize("path", ["/", "", "/graphql", "/secretly/", "/secret2/graphql", "/other/secret/"])
def test_outside_of_its_path_there_is_nothing(path: str) -> None:
    """The cookie is for that path only, so that pages on other ports do not get it."""
    assert isinstance(verdict("GET", path, **OWN), Refused)
    assert isinstance(verdict("GET", path, f"token={TOKEN}", host=HOST), Refused)


def test_the_address_with_the_token_gives_the_cookie_and_another_token_does_not() -> None:
    """The page that follows is the one without the token; the cookie is for the browser and the path alone."""
    assert isinstance(verdict("GET", "/secret/", f"token={TOKEN}", host=HOST), Welcome)
    for wrong in ("token=", "token=wrong", f"token=wrong&token={TOKEN}", f"Token={TOKEN}"):
        assert isinstance(verdict("GET", "/secret/", wrong, host=HOST), Refused)
    assert isinstance(verdict("POST", "/secret/graphql", f"token={TOKEN}", host=HOST, **JSON), Refused)
    (start, body) = answer(asked("GET", "/secret/", f"token={TOKEN}", host=HOST))
    headers = dict(start["headers"])
    assert headers[b"set-cookie"].decode() == f"{COOKIE}={TOKEN}; Path=/secret/; HttpOnly; SameSite=Strict"
    assert b'url=/secret/"' in body["body"]
    assert TOKEN.encode() not in body["body"]


def test_behind_a_proxy_only_the_bearer_of_the_token_is_let_in() -> None:
    """Under the proxy's name, without a path of its own, and never by a cookie or an address."""
    door = Door(TOKEN, "", frozenset({"ui.example"}), frozenset({"https://ui.example", "http://ui.example"}))
    bearer = {"host": "ui.example", "authorization": f"Bearer {TOKEN}"}
    assert verdict("GET", "/", door=door, **bearer) is None
    assert verdict("POST", "/graphql", door=door, origin="https://ui.example", **bearer, **JSON) is None
    for headers in (
        {"host": "ui.example", "cookie": f"{COOKIE}={TOKEN}"},
        {**bearer, "host": HOST},
        {**bearer, "origin": ORIGIN},
    ):
        assert isinstance(verdict("GET", "/", door=door, **headers), Refused)
    assert isinstance(verdict("GET", "/", f"token={TOKEN}", door=door, host="ui.example"), Refused)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """What is behind the front."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"behind"})


def answer(scope: Scope) -> list[Message]:
    """The messages that a request is answered with."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect" if scope["type"] == "websocket" else "http.request"}

    async def send(message: Message) -> None:
        messages.append(message)

    asyncio.run(Front(application, DOOR)(scope, receive, send))
    return messages


def test_every_reply_forbids_framing_and_keeps_the_address() -> None:
    """What is passed on, and what is refused; a refused socket is closed before it is open."""
    for scope, status in ((asked(**OWN), 200), (asked(host=HOST), 403)):
        start, body = answer(scope)
        headers: dict[bytes, Any] = dict(start["headers"])
        assert start["status"] == status
        assert (headers[b"x-frame-options"], headers[b"referrer-policy"]) == (b"DENY", b"same-origin")
        assert TOKEN.encode() not in body["body"]
    assert answer(asked(kind="websocket", host=HOST)) == [{"type": "websocket.close", "code": 1008}]
