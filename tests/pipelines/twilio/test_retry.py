"""Whether and when to ask again, and the error when not."""

import httpx
import pytest

from pipelines.errors import (
    SourceBlocked,
    SourceForbidden,
    SourceGarbled,
    SourceRefused,
    SourceUnavailable,
    SourceUntrusted,
)
from pipelines.twilio.failure import Cause, Failure, cause_of_status, error_code, error_for, request_id, retry_after
from pipelines.twilio.retry import wait_before_next

PASSING = [
    Cause.NETWORK,
    Cause.OPEN_FILES,
    Cause.DEADLINE,
    Cause.TRUNCATED,
    Cause.UNFRAMED,
    Cause.THROTTLED,
    Cause.SERVER,
]
ODD = [Cause.NO_DOCUMENT]
"""Waited for as well, and not believed in the end."""
ONCE = [
    Cause.NOT_FOUND,
    Cause.UNAUTHORIZED,
    Cause.FORBIDDEN,
    Cause.ENCODED,
    Cause.ENDLESS,
    Cause.PART,
    Cause.CERTIFICATE,
    Cause.PROXY,
]
UNTRUSTED = [
    *ODD,
    Cause.ENCODED,
    Cause.ENDLESS,
    Cause.PART,
    Cause.BROKEN,
    Cause.TOO_LARGE,
    Cause.UNEXPECTED,
]
BLOCKED = [Cause.ADDRESS, Cause.CERTIFICATE, Cause.PROXY]

NEVER = [cause for cause in Cause if cause not in PASSING + ODD + ONCE]


def wait(
    *causes: Cause,
    spent: float = 0.0,
    budget: float = 120.0,
    random: float = 1.0,
    repeatable: bool = True,
    retry_after: float = 0.0,
) -> float | None:
    """The wait after these failures."""
    failures = [Failure(cause, retry_after=retry_after) for cause in causes]
    return wait_before_next(failures, repeatable=repeatable, spent=spent, budget=budget, random=lambda: random)


@pytest.mark.parametrize("cause", PASSING + ODD)
def test_waits_grow_exponentially_from_a_tenth_of_a_second_to_ten(cause: Cause) -> None:
    """Network, deadline, truncation, 429 and 5xx are asked again for as long as the budget lasts."""
    assert [wait(*[cause] * n) for n in range(1, 10)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_the_jitter_is_full() -> None:
    """Anything from no wait to the whole span."""
    assert wait(*[Cause.SERVER] * 5, random=0.0) == 0.0
    assert wait(*[Cause.SERVER] * 5, random=0.25) == 0.4


@pytest.mark.parametrize("cause", ONCE)
def test_a_stray_404_401_403_or_encoding_is_asked_again_once(cause: Cause) -> None:
    """Also when other failures came between."""
    assert wait(cause) is not None
    assert wait(cause, cause) is None
    assert wait(cause, Cause.SERVER, cause) is None
    assert wait(Cause.SERVER, Cause.NETWORK, cause) is not None


@pytest.mark.parametrize("cause", NEVER)
def test_what_a_repetition_does_not_change_is_not_asked_again(cause: Cause) -> None:
    """Refusals, expiry (the caller asks for a new URL) and broken replies."""
    assert wait(cause) is None


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.THROTTLED])
def test_a_request_that_does_harm_twice_is_repeated_after_a_429_only(cause: Cause) -> None:
    """A 429 was not processed; of anything else nobody knows."""
    assert wait(cause, repeatable=False) is None
    assert wait(Cause.THROTTLED, repeatable=False) is not None


def test_retry_after_is_added_to_the_jitter_and_waited_for_within_reason() -> None:
    """Never asked before its time; ten minutes in all are waited for, and longer is not asked again by this request."""
    assert wait(Cause.THROTTLED, retry_after=7.0) == pytest.approx(7.1)
    assert wait(Cause.THROTTLED, retry_after=7.0, random=0.0) == 7.0
    assert wait(Cause.THROTTLED, retry_after=600.0) == pytest.approx(600.1)
    assert wait(Cause.THROTTLED, Cause.THROTTLED, retry_after=300.0) == pytest.approx(300.2)
    assert wait(Cause.THROTTLED, Cause.THROTTLED, retry_after=301.0) is None
    assert wait(Cause.THROTTLED, retry_after=3600.0) is None


def test_a_wait_that_does_not_fit_the_budget_is_not_begun() -> None:
    """Waiting only to give up afterwards helps nobody."""
    assert wait(Cause.SERVER, spent=119.0) is not None
    assert wait(Cause.SERVER, spent=119.95) is None
    assert wait(Cause.THROTTLED, spent=119.95, retry_after=55.0) is None
    assert wait(Cause.THROTTLED, spent=70.0, retry_after=55.0) is not None, "what the host asks for is not counted"


def test_very_many_failures_do_not_overflow_the_wait() -> None:
    """A budget of days must not end in an OverflowError."""
    assert wait(*[Cause.SERVER] * 5000, budget=1e9) == 10.0


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (429, Cause.THROTTLED),
        (408, Cause.SERVER),
        (500, Cause.SERVER),
        (503, Cause.SERVER),
        (529, Cause.SERVER),
        (401, Cause.UNAUTHORIZED),
        (403, Cause.FORBIDDEN),
        (404, Cause.NOT_FOUND),
        (400, Cause.REFUSED),
        (410, Cause.REFUSED),
        (302, Cause.UNEXPECTED),
        (206, Cause.UNEXPECTED),
    ],
)
def test_each_status_has_its_cause(status: int, cause: Cause) -> None:
    """Any 5xx passes, any other 4xx does not, anything else was not to be expected."""
    assert cause_of_status(status) is cause


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("Wed, 01 Sep 2010 15:16:01 GMT", 20.0),
        ("Wed, 01 Sep 2010 15:15:00 GMT", 0.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e9", 0.0),
        ("٣", 0.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_of_the_servers_clock(value: str, seconds: float) -> None:
    """What cannot be read is taken as not said."""
    headers = httpx.Headers([(b"retry-after", value.encode()), (b"date", b"Wed, 01 Sep 2010 15:15:41 GMT")])
    assert retry_after(headers) == seconds


def test_a_date_without_the_servers_own_date_is_ignored() -> None:
    """Our clock may be wrong by years."""
    assert retry_after({"retry-after": "Wed, 01 Sep 2010 15:16:01 GMT"}) == 0.0
    assert (
        retry_after({"retry-after": "Wed, 01 Sep 2010 15:16:01 -0000", "date": "Wed, 01 Sep 2010 15:15:41 GMT"}) == 0.0
    )
    assert retry_after({}) == 0.0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"code":20429}', 20429),
        (b'{"code":"20429"}', 20429),
        (b'{"code":null}', None),
        (b'{"code":[1]}', None),
        (b'{"message":"x"}', None),
        (b"[1]", None),
        (b"<Code>1</Code>", None),
        (b"", None),
        (b'{"code":20003,"x":"\\ud800"}', None),
        (b"\xff", None),
    ],
)
def test_the_code_of_an_error_body_is_read_leniently(body: bytes, code: int | None) -> None:
    """Error bodies come in many shapes; none of them may cause another error."""
    assert error_code(body) == code


def test_a_request_id_that_is_not_one_is_left_out() -> None:
    """A header must not write its own lines into a message."""
    assert request_id({"twilio-request-id": "RQ0a"}) == "RQ0a"
    assert request_id({"twilio-request-id": "RQ\nERROR all is lost"}) is None
    assert request_id({}) is None


@pytest.mark.parametrize("cause", list(Cause))
def test_each_cause_becomes_the_error_that_says_what_to_do(cause: Cause) -> None:
    """What passes: unavailable, run again; protocol broken: untrusted; a setting: blocked; else refused."""
    failure = Failure(cause, status=418, code=20001, request_id="RQ1", detail="spout")
    error = error_for(failure, "add-on results of recording RE1", attempts=4, seconds=12.34)
    expected = SourceForbidden if cause is Cause.FORBIDDEN else SourceRefused
    if cause in PASSING:
        expected = SourceUnavailable  # type: ignore[assignment]
    elif cause is Cause.NO_DOCUMENT:
        expected = SourceGarbled  # type: ignore[assignment]
    elif cause in UNTRUSTED:
        expected = SourceUntrusted  # type: ignore[assignment]
    elif cause in BLOCKED:
        expected = SourceBlocked  # type: ignore[assignment]
    assert type(error) is expected
    assert (error.status, error.code, error.request_id) == (418, 20001, "RQ1")
    assert str(error) == (
        f"add-on results of recording RE1: {cause.value} (spout), after 4 attempts in 12.3 s "
        "(HTTP 418, Twilio code 20001, request RQ1)"
    )
