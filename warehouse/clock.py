"""Clocks: what time it is when the clock of this machine may be wrong.

Pure. Whatever destroys because of an age reckons it by `trusted_now`: a clock alone, ahead by a year, would make
everything old at once. Whatever is stamped or looked for at the source goes by `believed_now`.
"""

from datetime import UTC, datetime, timedelta
from typing import overload

APART = timedelta(minutes=5)
"""How far two clocks may be apart before the one here counts as wrong."""


def trusted_now(here: datetime, shown: datetime | None) -> datetime | None:
    """The time (UTC) by which an age is reckoned before anything is destroyed.

    Args:
        here: the clock of this machine; it can only make the time earlier.
        shown: the newest time that somebody else has shown; a wrong one is no harm unless the clock here agrees.

    Returns:
        None when nobody else has shown a time: then nothing is old enough.
    """
    return None if shown is None else min(here, shown + APART)


def believed_now(here: datetime, source: datetime | None) -> datetime:
    """The time (UTC) by the source's clock; by the one here, which is finer, when they agree or it has not said."""
    return here if source is None or abs(here - source) <= APART else source


@overload
def moment(microseconds: int) -> datetime: ...
@overload
def moment(microseconds: int | None) -> datetime | None: ...
def moment(microseconds: int | None) -> datetime | None:
    """A time (UTC) from microseconds since 1970, exact to the last of them."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
