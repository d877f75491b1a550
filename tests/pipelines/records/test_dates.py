"""Reading times and deriving the partition and the deadline."""

from datetime import UTC, date, datetime

import pytest

from pipelines.records.dates import parse_timestamp, utc_day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wed, 01 Sep 2010 15:15:41 +0000", (2010, 9, 1, 15, 15, 41)),
        ("Mon, 14 Feb 2022 22:23:00 +0100", (2022, 2, 14, 21, 23, 0)),
        ("Mon, 14 Feb 2022 22:23:00 -0730", (2022, 2, 15, 5, 53, 0)),
        ("1 Sep 2010 15:15:41 -0000", (2010, 9, 1, 15, 15, 41)),
        ("Wed, 1 Sep 2010 15:15:41 GMT", (2010, 9, 1, 15, 15, 41)),
        ("Wed, 01 Sep 2010 15:15:41 EST", (2010, 9, 1, 20, 15, 41)),
        ("Sat, 31 Dec 2016 23:59:60 +0000", (2017, 1, 1, 0, 0, 0)),
        ("2026-11-20T10:11:12Z", (2026, 11, 20, 10, 11, 12)),
        ("2026-11-20T10:11:12+02:00", (2026, 11, 20, 8, 11, 12)),
        ("2026-11-20 10:11:12", (2026, 11, 20, 10, 11, 12)),
        ("2026-11-20", (2026, 11, 20, 0, 0, 0)),
    ],
)
def test_a_time_is_read_with_its_real_offset(text: str, expected: tuple[int, ...]) -> None:
    """RFC 2822 and ISO 8601, honouring the offset that Twilio's own library drops."""
    assert parse_timestamp(text) == datetime(*expected, tzinfo=UTC)  # type: ignore[misc, arg-type]  # six integers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Wed, 31 Feb 2010 15:15:41 +0000",
        "Wed, 01 Sep 2010 24:00:00 +0000",
        "Wed, 01 Sep 10 15:15:41 +0000",
        "Wed, 01 Sep 2010 15:15:41 +9999",
        "Wed, 01 Sep 2010 15:15:41 XYZ",
        "Wed, 01 Sep 2010 15:15:41 +0000\n",
        "Wed, 01 Abc 2010 15:15:41 +0000",
        "٢٠٢٦-11-20T10:11:12Z",
        "2026-13-01T00:00:00Z",
        "Mon, 01 Jan 0001 00:00:00 +0000",
        "1999-12-31T23:59:59Z",
    ],
)
def test_what_is_no_time_is_an_error_and_never_a_guess(text: str) -> None:
    """Null means "unfinished" here, so an unreadable date must not become null silently."""
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


def test_the_partition_is_the_utc_day() -> None:
    """23:30 at +0100 belongs to the same day, 00:30 at +0100 to the day before."""
    assert utc_day(parse_timestamp("Fri, 20 Nov 2026 00:30:00 +0100")) == date(2026, 11, 19)
    assert utc_day(parse_timestamp("Fri, 20 Nov 2026 23:59:59 +0000")) == date(2026, 11, 20)
    assert utc_day(None) is None
