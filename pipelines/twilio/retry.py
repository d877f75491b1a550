"""Whether to ask again, and after how long.

Pure. Failures that pass (network, 429, 5xx, a reply cut short) are asked again until the time budget is
spent; failures that are sometimes stray (404, 401, 403, a reply that cannot be proven whole) once; everything else
never. The wait is full jitter over an exponentially growing span, so that many clients that failed together do not
return together. A host that says when to ask again is not asked before: that is waited for if it is soon enough, and
not asked again at all if it is not.
"""

from collections.abc import Callable, Sequence

from pipelines.twilio.failure import UNAVAILABLE, Cause, Failure

FIRST_SPAN = 0.1  # seconds
LONGEST_SPAN = 10.0  # seconds
LONGEST_PAUSES = 600.0  # seconds that a host may ask one request to wait, in all

PASSING = UNAVAILABLE | {Cause.NO_DOCUMENT}
_SOMETIMES_STRAY = {
    *(Cause.NOT_FOUND, Cause.UNAUTHORIZED, Cause.FORBIDDEN),
    *(Cause.ENCODED, Cause.ENDLESS, Cause.PART),
    *(Cause.CERTIFICATE, Cause.PROXY),
}


def wait_before_next(
    failures: Sequence[Failure],
    *,
    repeatable: bool,
    spent: float,
    budget: float,
    random: Callable[[], float],
    pauses: float = LONGEST_PAUSES,
) -> float | None:
    """Seconds to wait before asking again, None to give up.

    Args:
        failures: what the attempts for this request ended with, the newest last.
        repeatable: sending the request again does no harm if it was processed; otherwise it is sent again
            only after a 429, which was not processed.
        spent: seconds used so far by attempts and waits, but for those that the host asked for.
        budget: seconds that may be used in all; a wait that does not fit is not begun.
        random: evenly distributed over 0 to 1.
        pauses: seconds that the host may ask to wait, in all.
    """
    newest = failures[-1]
    if not repeatable and newest.cause is not Cause.THROTTLED:
        return None
    if newest.cause in _SOMETIMES_STRAY:
        if any(earlier.cause is newest.cause for earlier in failures[:-1]):
            return None
    elif newest.cause not in PASSING:
        return None
    if sum(failure.retry_after for failure in failures) > pauses:
        return None
    span = min(LONGEST_SPAN, FIRST_SPAN * 2.0 ** min(len(failures) - 1, 30))
    wait = random() * span
    return newest.retry_after + wait if spent + wait < budget else None
