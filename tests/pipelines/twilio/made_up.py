"""Made-up SIDs, pages and a client over plain callables, for the tests beside this file."""

import asyncio
import io
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any

import httpx

from pipelines.records.sids import AccountSid, AddOnResultSid, PayloadSid, RecordingSid
from pipelines.twilio.client import Credential, Tuning, TwilioClient

Handler = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]

AC = AccountSid("AC" + "0a" * 16)
RE = RecordingSid("RE" + "1b" * 16)
XR = AddOnResultSid("XR" + "2c" * 16)
XH = PayloadSid("XH" + "3d" * 16)
SECRET = "correct-horse-battery-staple"
SIGNATURE = "X-Amz-Signature=5ignature0fGreatPower"
BASE = "https://api.twilio.com"
RESULTS = f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults.json"
DATA = f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults/{XR}/Payloads/{XH}/Data.json"
SIGNED = f"https://bucket.storage.example/a%2Fb/c+d%20e?x=%2F&{SIGNATURE}"


def page(key: str, items: Iterable[object], following: str | None = None) -> httpx.Response:
    """One page of a list, as Twilio would answer."""
    return httpx.Response(200, json={"next_page_uri": following, key: list(items), "page": 0})


def problem(status: int, code: int | None = None, **headers: str) -> httpx.Response:
    """An error as Twilio would answer it."""
    body: dict[str, Any] = {"status": status, "message": "no"}
    if code is not None:
        body["code"] = code
    return httpx.Response(
        status, json=body, headers={"Twilio-Request-Id": "RQ77", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def redirect(target: str = SIGNED, status: int = 307) -> httpx.Response:
    """What Data answers."""
    return httpx.Response(status, headers={"Location": target}, json={"redirect_to": target})


def in_turn(*answers: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    """A handler that gives each answer once, then the last for ever."""
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle


def no_storage(request: httpx.Request) -> httpx.Response:
    """A storage handler for tests that must not reach storage."""
    raise AssertionError(f"storage was asked for {request.url}")


def client(
    api: Handler,
    storage: Handler = no_storage,
    *,
    base_url: str = BASE,
    max_concurrency: int = 100,
    tuning: Tuning | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = lambda: 0.5,
) -> TwilioClient:
    """A client whose hosts are plain callables."""
    return TwilioClient(
        AC,
        Credential(AC, SECRET),
        base_url=base_url,
        api=httpx.MockTransport(api),
        storage=httpx.MockTransport(storage),
        max_concurrency=max_concurrency,
        tuning=Tuning() if tuning is None else tuning,
        sleep=sleep,
        random=random,
    )


async def collect(pages: AsyncIterator[tuple[bytes, ...]]) -> list[Any]:
    """All items of a list, decoded."""
    return [json.loads(item) async for items in pages for item in items]


def everything(error: BaseException) -> str:
    """All text that any reporter could find on an error: chain, contexts, arguments, attributes, traceback."""
    text, queue, seen = io.StringIO(), [error], set()
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        text.write("".join(traceback.format_exception(one)))
        text.write(f"{one!r} {one.args!r} {vars(one)!r}")
        queue += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    return text.getvalue()
