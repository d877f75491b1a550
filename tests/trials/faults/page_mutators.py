"""Mutators of JSON: of whole documents, of pages and where they lead, of single rows and their values.

Those of rows keep the other rows of the page as they are: whoever loses these, loses good ones.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.trials.faults.mutator import Make, Mutator
from tests.trials.faults.replies import API, LISTS, Honest, Level, Wire, framed

RESULTS = frozenset({Level.RESULTS})
PAYLOADS = frozenset({Level.PAYLOADS})
NESTED = RESULTS | PAYLOADS
_KEYS = {Level.RECORDINGS: "recordings", Level.RESULTS: "add_on_results", Level.PAYLOADS: "payloads"}
_DATES = {Level.RECORDINGS: "date_created", Level.RESULTS: "date_completed", Level.PAYLOADS: "date_created"}
_MARK = "@@raw@@"
Row = dict[str, object]


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def body(make: Callable[[bytes], bytes]) -> Make:
    """Other bytes for the whole body, well framed."""
    return lambda honest, random: Wire(framed(replace(honest, body=make(honest.body))))


def envelope(**changes: object) -> Make:
    """The page with other members; a value may be made of the honest reply; `...` leaves the member out."""

    def make(honest: Honest, random: Random) -> Wire:
        page = json.loads(honest.body)
        for name, change in changes.items():
            value = change(honest) if callable(change) else change
            page.pop(name)
            if value is not ...:
                page[name] = value
        return Wire(framed(replace(honest, body=_dumps(page))))

    return make


def _items(honest: Honest, raw: list[bytes]) -> Wire:
    """The page with these rows, as they are written."""
    page = json.loads(honest.body)
    page[_KEYS[honest.level]] = _MARK
    whole = _dumps(page).replace(f'"{_MARK}"'.encode(), b"[" + b",".join(raw) + b"]")
    return Wire(framed(replace(honest, body=whole)))


def _rows(honest: Honest) -> list[Row]:
    rows: list[Row] = json.loads(honest.body)[_KEYS[honest.level]]
    return rows


def row(change: Callable[[Row, Honest, Random], bytes]) -> Make:
    """The page with one of its rows written otherwise."""

    def make(honest: Honest, random: Random) -> Wire | None:
        rows = _rows(honest)
        if not rows:
            return None
        chosen = random.randrange(len(rows))
        return _items(honest, [change(r, honest, random) if n == chosen else _dumps(r) for n, r in enumerate(rows)])

    return make


def value(name: str, raw: bytes | str) -> Make:
    """One row with another value (JSON as written) for a member; `date` stands for the level's own date."""
    text = raw if isinstance(raw, bytes) else _dumps(raw)

    def change(one: Row, honest: Honest, random: Random) -> bytes:
        member = _DATES[honest.level] if name == "date" else name
        return _dumps({**one, member: _MARK}).replace(f'"{_MARK}"'.encode(), text)

    return row(change)


def sid(make: Callable[[str], str]) -> Make:
    """One row with another SID."""
    return row(lambda one, honest, random: _dumps({**one, "sid": make(str(one["sid"]))}))


def _other(text: str) -> str:
    """Another SID of the same form."""
    return text[:2] + "".join(f"{15 - int(digit, 16):x}" for digit in text[2:])


def _next(make: Callable[[Honest], object]) -> Make:
    return envelope(next_page_uri=make)


def _endless(honest: Honest, random: Random) -> Wire | None:
    """One more page of the same list, always with a new token: without the list's rows."""
    page = json.loads(honest.body)
    page["next_page_uri"] = f"{honest.path.partition('?')[0]}?Page=1&PageToken=endless{random.getrandbits(64):x}"
    page[_KEYS[honest.level]] = []
    return Wire(framed(replace(honest, body=_dumps(page))))


def _empty_with_next(honest: Honest, random: Random) -> Wire:
    page = json.loads(honest.body)
    page[_KEYS[honest.level]] = []
    page["next_page_uri"] = f"{honest.path}&Again=1" if "Again" not in honest.path else page["next_page_uri"]
    return Wire(framed(replace(honest, body=_dumps(page))))


def _no_next(honest: Honest, random: Random) -> Wire | None:
    page = json.loads(honest.body)
    if page.pop("next_page_uri") is None:
        return None
    return Wire(framed(replace(honest, body=_dumps(page))))


def _skipping(honest: Honest, random: Random) -> Wire | None:
    rows = _rows(honest)
    return _items(honest, [_dumps(r) for r in rows[1:]]) if rows else None


def _twice(honest: Honest, random: Random) -> Wire | None:
    rows = _rows(honest)
    return _items(honest, [_dumps(r) for r in rows + rows[:1]]) if rows else None


def _twice_otherwise(honest: Honest, random: Random) -> Wire | None:
    rows = _rows(honest)
    if not rows:
        return None
    name = (
        "label" if honest.level is Level.PAYLOADS else "call_sid" if honest.level is Level.RECORDINGS else "add_on_sid"
    )
    return _items(honest, [_dumps(r) for r in [*rows, {**rows[0], name: "another"}]])


def _none_but_sid(one: Row, honest: Honest, random: Random) -> bytes:
    return _dumps({name: text if name == "sid" else None for name, text in one.items()})


def _only_sid(one: Row, honest: Honest, random: Random) -> bytes:
    return _dumps({"sid": one["sid"]})


def _huge(honest: Honest, random: Random) -> Wire | None:
    rows = _rows(honest)
    return _items(honest, [_dumps(rows[0])] * 100_000) if rows else None


def _foreign(member: str, make: Callable[[str], str]) -> Make:
    return row(lambda one, honest, random: _dumps({**one, member: make(str(one[member]))}))


def _item(raw: bytes) -> Make:
    """One row is something that is no row."""
    return row(lambda one, honest, random: raw)


def _spoofed(one: Row, honest: Honest, random: Random) -> bytes:
    return _dumps(one)[:-1] + b',"sid":' + _dumps(_other(str(one["sid"]))) + b"}"


def _list_twice(honest: Honest, random: Random) -> Wire | None:
    key = _KEYS[honest.level].encode()
    return Wire(framed(replace(honest, body=honest.body[:-1] + b',"' + key + b'":[]}'))) if _rows(honest) else None


def _without_list(honest: Honest, random: Random) -> Wire:
    page = json.loads(honest.body)
    del page[_KEYS[honest.level]]
    return Wire(framed(replace(honest, body=_dumps(page))))


def _list_is(raw: bytes) -> Make:
    def make(honest: Honest, random: Random) -> Wire:
        page = json.loads(honest.body)
        page[_KEYS[honest.level]] = _MARK
        return Wire(framed(replace(honest, body=_dumps(page).replace(f'"{_MARK}"'.encode(), raw))))

    return make


def _account_replaced(honest: Honest) -> str:
    return honest.path.replace("/Accounts/AC0", "/Accounts/AC9")


PAGES = (
    Mutator("null", "the body is null", body(lambda b: b"null"), API),
    Mutator("list for object", "the document within a list", body(lambda b: b"[" + b + b"]"), API),
    Mutator("number for object", "the body is 10^30", body(lambda b: b"1" + b"0" * 30), API),
    Mutator("garbage after JSON", "the document, and more", body(lambda b: b + b"garbage"), API),
    Mutator("two documents", "the document twice", body(lambda b: b + b), API),
    Mutator("JSON cut", "half of the document, well framed", body(lambda b: b[: len(b) // 2]), API),
    Mutator("byte-order mark", "UTF-8 with a mark before it", body(lambda b: b"\xef\xbb\xbf" + b), API, tolerable=True),
    Mutator("UTF-16", "the document in another encoding", body(lambda b: b.decode().encode("utf-16")), API),
    Mutator("UTF-16 without mark", "the same, unannounced", body(lambda b: b.decode().encode("utf-16-le")), API),
    Mutator("single quotes", "JSON as Python prints it", body(lambda b: b.replace(b'"', b"'")), API),
    Mutator("deep nesting", "100,000 lists within each other", body(lambda b: b"[" * 100_000 + b"]" * 100_000), API),
    Mutator("no list", "the page lacks its array", _without_list, LISTS),
    Mutator("list null", "the array is null", _list_is(b"null"), LISTS),
    Mutator("list an object", "the array is an object", _list_is(b'{"0":{}}'), LISTS),
    Mutator("list a text", "the array is a text", _list_is(b'"none"'), LISTS),
    Mutator("list given twice", "a second, empty array of the same name", _list_twice, LISTS),
    Mutator(
        "next page absolute",
        "another host, which must not see the credentials",
        _next(lambda h: h.trap + h.path),
        LISTS,
    ),
    Mutator("next page without scheme", "//host/...", _next(lambda h: h.trap[5:] + h.path), LISTS),
    Mutator("next page in another account", "the path of an account that is not ours", _next(_account_replaced), LISTS),
    Mutator(
        "next page of another list",
        "the list of another recording",
        _next(lambda h: h.path.replace("/RE", "/RE0")[:200]),
        NESTED,
    ),
    Mutator("next page climbs", "dot segments", _next(lambda h: h.path.replace("?", "/../x?")), LISTS),
    Mutator(
        "next page encoded",
        "percent-encoded slashes",
        _next(lambda h: h.path.replace("/Recordings", "%2FRecordings")),
        LISTS,
    ),
    Mutator(
        "next page with a newline",
        "a header smuggled into the request",
        _next(lambda h: h.path + "&x=1\r\nX-Smuggled: 1"),
        LISTS,
    ),
    Mutator("next page a number", "7", _next(lambda h: 7), LISTS),
    Mutator("next page loops", "the page itself", _next(lambda h: h.path), LISTS),
    Mutator("next page left out", "a page with more to come does not say so", _no_next, LISTS),
    Mutator("endless", "always one more page, always empty", _endless, LISTS),
    Mutator(
        "empty page with a next",
        "nothing on this page, more on the next",
        _empty_with_next,
        LISTS,
        tolerable=True,
        plausible=LISTS,
    ),
    Mutator("page shifted by one", "the first row is missing", _skipping, LISTS, plausible=LISTS),
    Mutator("empty list", "no rows", _list_is(b"[]"), LISTS, plausible=LISTS),
    Mutator("row twice", "one row comes again", _twice, LISTS, tolerable=True),
    Mutator("row twice, otherwise", "one SID, two rows that differ", _twice_otherwise, LISTS, tolerable=True),
    Mutator("100,000 rows", "one row 100,000 times", _huge, LISTS, tolerable=True),
)

ROWS = (
    Mutator("row null", "a row is null", _item(b"null"), LISTS),
    Mutator("row a number", "a row is 10^30", _item(b"1" + b"0" * 30), LISTS),
    Mutator("row a list", "a row is a list", _item(b"[]"), LISTS),
    Mutator("row a text", "a row is a text", _item(b'"row"'), LISTS),
    Mutator(
        "row without SID", "no SID", row(lambda one, h, r: _dumps({k: v for k, v in one.items() if k != "sid"})), LISTS
    ),
    Mutator("SID null", "a SID of null", value("sid", b"null"), LISTS),
    Mutator("SID a number", "a SID of 7", value("sid", b"7"), LISTS),
    Mutator("SID climbs", "../../etc/passwd", sid(lambda s: "../../../../etc/passwd"), LISTS),
    Mutator("SID absolute", "/tmp/...", sid(lambda s: "/tmp/" + s), LISTS),
    Mutator("SID with a newline", "a line end after a good SID", sid(lambda s: s + "\n"), LISTS),
    Mutator("SID with a NUL", "a NUL after a good SID", sid(lambda s: s + "\0"), LISTS),
    Mutator("SID with a query", "a question mark in it", sid(lambda s: s[:20] + "?x=" + s[23:]), LISTS),
    Mutator("SID of another kind", "the wrong two letters", sid(lambda s: "CA" + s[2:]), LISTS),
    Mutator("SID too short", "one digit less", sid(lambda s: s[:-1]), LISTS),
    Mutator("SID of a megabyte", "no end to it", sid(lambda s: s * 30_000), LISTS),
    Mutator("SID in other digits", "digits that are not ASCII", sid(lambda s: s[:2] + "\u0663" * 32), LISTS),
    Mutator("SID given twice", "the second names another", row(_spoofed), LISTS),
    Mutator("null everywhere", "nothing but the SID", row(_none_but_sid), LISTS, tolerable=True, plausible=LISTS),
    Mutator(
        "members missing", "nothing but the SID, not even nulls", row(_only_sid), LISTS, tolerable=True, plausible=LISTS
    ),
    Mutator(
        "status unknown",
        "a word that is not documented",
        value("status", "hibernating"),
        frozenset({Level.RECORDINGS, Level.RESULTS}),
        tolerable=True,
        plausible=LISTS,
    ),
    Mutator("status a number", "7", value("status", b"7"), frozenset({Level.RECORDINGS, Level.RESULTS})),
    Mutator("label an object", "an object where a text should be", value("label", b'{"a":1}'), PAYLOADS),
    Mutator("row of another account", "an account that is not the one asked", _foreign("account_sid", _other), LISTS),
    Mutator(
        "row of another recording", "a recording that is not the one asked", _foreign("reference_sid", _other), NESTED
    ),
    Mutator(
        "row of another result", "a result that is not the one asked", _foreign("add_on_result_sid", _other), PAYLOADS
    ),
    Mutator("date no date", "yesterday", value("date", "yesterday"), LISTS),
    Mutator("date a number", "seconds since 1970", value("date", b"1763640000"), LISTS),
    Mutator(
        "leap second",
        "23:59:60",
        value("date", "Thu, 19 Nov 2026 23:59:60 +0000"),
        LISTS,
        tolerable=True,
        plausible=LISTS,
    ),
    Mutator(
        "zone -0000",
        "a zone that means unknown",
        value("date", "Thu, 19 Nov 2026 10:00:00 -0000"),
        LISTS,
        tolerable=True,
        plausible=LISTS,
    ),
    Mutator(
        "zone missing", "no zone", value("date", "Thu, 19 Nov 2026 10:00:00"), LISTS, tolerable=True, plausible=LISTS
    ),
    Mutator("year of two digits", "26", value("date", "Thu, 19 Nov 26 10:00:00 +0000"), LISTS),
    Mutator("31 February", "a day that is none", value("date", "Tue, 31 Feb 2026 10:00:00 +0000"), LISTS),
    Mutator("hour 24", "an hour that is none", value("date", "Thu, 19 Nov 2026 24:00:00 +0000"), LISTS),
    Mutator("zone +9999", "a zone that is none", value("date", "Thu, 19 Nov 2026 10:00:00 +9999"), LISTS),
    Mutator("year 0", "before time", value("date", "0000-01-01T00:00:00Z"), LISTS),
    Mutator("year 9999", "after time", value("date", "9999-12-31T23:59:59Z"), LISTS),
    Mutator("date of 5,000 digits", "digits without end", value("date", "9" * 5000), LISTS),
    Mutator("invalid UTF-8", "bytes that are no text", value("account_sid", b'"\xff\xfe"'), LISTS),
    Mutator("half a surrogate pair", "\\ud800", value("account_sid", b'"\\ud800"'), LISTS),
    Mutator("half a pair in a member nobody reads", "\\ud800 there", value("extra", b'{"x":["\\ud800"]}'), LISTS),
    Mutator(
        "half a pair in the details",
        "\\ud800 where any JSON may be",
        value("encryption_details", b'{"x":"\\ud800"}'),
        frozenset({Level.RECORDINGS}),
    ),
    Mutator("NUL in a text", "\\u0000", value("add_on_sid", b'"a\\u0000b"'), LISTS, tolerable=True, plausible=LISTS),
    Mutator("control character", "a bare line end in a text", value("add_on_sid", b'"a\nb"'), LISTS),
    Mutator("NaN", "a number that is none", value("price", b"NaN"), LISTS),
    Mutator("Infinity", "a number without end", value("extra", b"-Infinity"), LISTS),
    Mutator("1e999", "a number beyond all floats", value("extra", b"1e999"), LISTS),
    Mutator(
        "10^30", "a whole number beyond 64 bits", value("channels", b"1" + b"0" * 30), frozenset({Level.RECORDINGS})
    ),
    Mutator("5,000 digits", "a whole number beyond Python's limit", value("extra", b"9" * 5000), LISTS),
    Mutator("nested row", "100,000 lists within a row", value("extra", b"[" * 100_000 + b"]" * 100_000), LISTS),
    Mutator(
        "nested 1,000 deep",
        "deeper than documented, not deep for a parser",
        value("extra", b'{"a":' * 1000 + b"1" + b"}" * 1000),
        LISTS,
    ),
)
