"""Pages: items as received, and next pages of the same list only."""

import json
import tracemalloc
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import SourceUntrusted
from pipelines.twilio.paging import Listing, next_page, read_page, read_subaccount, redirect_in
from pipelines.twilio.resources import Resources
from tests.pipelines.twilio.made_up import AC, RE, XR

PATH = f"/2010-04-01/Accounts/{AC}/Recordings.json"
LISTING = Listing(PATH, "recordings", "recordings")
OTHER = "AC" + "f" * 32


def test_recordings_are_asked_for_by_whole_utc_days_with_the_day_after_as_upper_bound() -> None:
    """`DateCreated<` leaves its own day out, so the last day is covered by naming the next."""
    listing = Resources(AC).recordings(date(2026, 2, 27), date(2026, 2, 28))
    assert listing.first_uri == (
        f"{PATH}?DateCreated%3E=2026-02-27&DateCreated%3C=2026-03-01&IncludeSoftDeleted=true&PageSize=1000"
    )


def test_every_list_has_its_own_path_and_the_largest_page_size() -> None:
    """Results under the recording, payloads under the result."""
    resources = Resources(AC)
    root = f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults"
    assert resources.add_on_results(RE).first_uri == f"{root}.json?PageSize=1000"
    assert resources.payloads(RE, XR).first_uri == f"{root}/{XR}/Payloads.json?PageSize=1000"
    assert resources.accounts().first_uri == "/2010-04-01/Accounts.json?PageSize=1000"


def test_items_are_the_bytes_received() -> None:
    """Spacing, key order, number spelling, duplicate keys and escapes all survive."""
    items = [b'{ "a":1.10,"a" : 2 }', b'{"b":"\\ud800\\u00e9","z":1e999}', b'"not an object"', b"null", b"{}"]
    body = b'{"page":0,"recordings":[' + b" ,\n".join(items) + b'],"next_page_uri":null}'
    assert read_page(body, LISTING).items == tuple(items)


@pytest.mark.parametrize(
    "item",
    [
        b'{"label":"cut short: \\ud83d","sid":"x"}',
        b'{"label":"a\nb"}',
        b'{"n":NaN}',
        b'{"n":01}',
        b'{"label":"\\x"}',
        b'{"label":"\\"]},{"}',
        b'{"deep":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_one_row_that_no_parser_reads_does_not_take_the_page_with_it(item: bytes) -> None:
    """It is handed on as received, to be quarantined, and its neighbours are whole."""
    body = b'{"uri":"/x", "recordings" : [{"sid":"1"}, ' + item + b' ,{"sid":"2"}] ,"next_page_uri":null}'
    assert read_page(body, LISTING).items == (b'{"sid":"1"}', item, b'{"sid":"2"}')


def test_escapes_in_rows_do_not_matter() -> None:
    """Only the names of the page itself must be spelled as they are documented."""
    item = b'{"label":"\\u0073\\u005f","\\u0073id":"1"}'
    assert read_page(b'{"recordings":[' + item + b'],"next_page_uri":null}', LISTING).items == (item,)


def test_splitting_a_page_takes_memory_for_its_copies_only() -> None:
    """A text of megabytes in one broken row must not take a hundred bytes for each of its characters."""
    body = b'{"recordings":[{"label":"' + b"a\\n" * 400_000 + b'","x":NaN}],"next_page_uri":null}'
    tracemalloc.start()
    try:
        assert len(read_page(body, LISTING).items) == 1
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()


def test_no_beginning_of_a_page_passes_for_a_page() -> None:
    """Cut anywhere, with or without a row that no parser reads, it is refused."""
    body = b'{"recordings":[{"sid":"1"},{"label":"\\ud83d [}"}],"next_page_uri":null}'
    assert len(read_page(body, LISTING).items) == 2
    for length in range(len(body)):
        with pytest.raises(SourceUntrusted):
            read_page(body[:length], LISTING)


@pytest.mark.parametrize(
    "rows", [b"[{},]", b"[,{}]", b"[{}}]", b'[{"a":NaN]}', b"[NaN]]", b"{NaN}", b"[NaN},{]", b'[NaN],"recordings":[]']
)
def test_what_cannot_be_split_for_certain_is_refused(rows: bytes) -> None:
    """Empty places, brackets that do not match, a list given twice."""
    with pytest.raises(SourceUntrusted):
        read_page(b'{"recordings":' + rows + b',"x":NaN}', LISTING)


@pytest.mark.parametrize("ending", [b',"next_page_uri":null', b',"next_page_uri":""'])
def test_no_next_page_ends_the_list(ending: bytes) -> None:
    """Null and empty mean the last page; a page that says nothing of it may be any."""
    assert read_page(b'{"recordings":[]' + ending + b"}", LISTING).next_uri is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"recordings":null}',
        b'{"recordings":[1],"next_page_uri":null,"recordings":[]}',
        b'{"recordings":[],"next_page_uri":"/x","next_page_uri":null}',
        b'{"recordings":[1],"next_page_uri":null,"recording\\u0073":[]}',
        b'{"\\u0072ecordings":[1],"next_page_uri":null,"recordings":[]}',
        b'{"recordings":[],"next_page_uri":"/x","next\\u005Fpage_uri":null}',
        b'{"recordings":[{"x":NaN}],"next_page_uri":null,"recording\\u0073":[]}',
        b'{"recordings":{}}',
        b'{"recordings":[]',
        b'{"recordings":[],"next_page_uri":7}',
        b'{"recordings":[],"next_page_uri":["/x"]}',
        b'{"add_on_results":[]}',
        b'{"code":20500,"message":"error","status":500}',
        b"<html>busy</html>",
        b'{"recordings":[]}garbage',
        b'{"recordings":' + b"[" * 100_000,
        b"\xff\xfe{}",
    ],
)
def test_a_body_that_is_not_a_page_of_this_list_is_not_an_empty_list(body: bytes) -> None:
    """An error document taken for an empty page would look like nothing to export."""
    with pytest.raises(SourceUntrusted):
        read_page(body, LISTING)


@pytest.mark.parametrize(
    "uri",
    [
        f"https://evil.example{PATH}?Page=1",
        f"//evil.example{PATH}?Page=1",
        f"/{PATH}?Page=1",
        f"\\\\evil.example{PATH}?Page=1",
        f"@evil.example{PATH}?Page=1",
        f".evil.example{PATH}?Page=1",
        f":80{PATH}?Page=1",
        f"{PATH.replace(AC, OTHER)}?Page=1",
        f"{PATH.replace('Recordings', 'Calls')}?Page=1",
        f"{PATH}/../../{OTHER}/Recordings.json?Page=1",
        f"{PATH.replace('/Recordings', '%2FRecordings')}?Page=1",
        f"{PATH}%3FPage=1",
        f"{PATH}#?Page=1",
        f"https://api.twilio.com{PATH}?Page=1",
        f"https://user@nowhere.invalid{PATH}?Page=1",
        f"{PATH}?Page=1\r\nX-Evil: 1",
        f"{PATH}?Page=1\n",
        f"{PATH}?Page=\ud800",
        f"\t{PATH}?Page=1",
        f"{PATH}?",
        PATH,
        PATH[1:] + "?Page=1",
        f"{PATH}?{'a' * 5000}",
    ],
)
def test_a_next_page_elsewhere_is_not_followed(uri: str) -> None:
    """Another host, account, resource or spelling of the path: refused, credentials stay home."""
    with pytest.raises(SourceUntrusted):
        read_page(json.dumps({"recordings": [], "next_page_uri": uri}).encode(), LISTING)


QUERY = "DateCreated%3E=2026-11-02&Page=1"


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        (f"{PATH}?DateCreated>=2026-11-02&Page=1", QUERY),
        (f"{PATH}?DateCreated%3e=2026-11-02&Page=1", "DateCreated%3e=2026-11-02&Page=1"),
        (f"https://api.twilio.com{PATH}?{QUERY}", QUERY),
        (f"HTTPS://API.Twilio.com:443{PATH}?{QUERY}", QUERY),
        (f"//api.twilio.com{PATH}?{QUERY}", QUERY),
        (f"?{QUERY}", QUERY),
        (f"Recordings.json?{QUERY}", QUERY),
        (f"/2010-04-01/Accounts/{OTHER}/../{AC}/./Recordings.json?{QUERY}", QUERY),
        (f"{PATH.replace('R', '%52', 1).replace('.json', '%2ejson')}?{QUERY}#page", QUERY),
        (f' {PATH}?Page=1 x&a="b"&é=\u2028', "Page=1%20x&a=%22b%22&%C3%A9=%E2%80%A8"),
    ],
)
def test_a_next_page_is_followed_in_whatever_spelling(uri: str, query: str) -> None:
    """What is asked is the list's own path; of the query is escaped what may not be sent."""
    body = json.dumps({"recordings": [], "next_page_uri": uri}).encode()
    assert read_page(body, LISTING, base_url="https://api.twilio.com").next_uri == f"{PATH}?{query}"


@pytest.mark.parametrize(
    "origin",
    [
        *("http://api.twilio.com", "https://api.twilio.com:444", "https://api.twilio.com.evil.example"),
        *(
            "https://u:p@api.twilio.com",
            "https://api.twilio.com@evil.example",
            "https://[::1]",
            "https://[x",
            "ftp://x",
        ),
        *(
            "https://api.twilio.com:0x50",
            "https:/",
            "https:///api.twilio.com",
            "javascript:",
            "//evil.example",
        ),
    ],
)
def test_a_next_page_at_another_origin_is_not_followed(origin: str) -> None:
    """Nor one that names a user, or cannot be read."""
    with pytest.raises(SourceUntrusted):
        next_page(f"{origin}{PATH}?{QUERY}", LISTING, base_url="https://api.twilio.com")


@pytest.mark.parametrize("row", [b"{}", b'""', b"[]", b"1", b'{"a":{"b":[1,2]}}', b"NaN"])
def test_a_page_of_far_more_rows_than_were_asked_for_is_refused_before_they_are_read(row: bytes) -> None:
    """8 MB hold millions of them, and each would be put into quarantine; some more than asked for are read."""
    body = b'{"recordings":[' + b",".join([row] * (8_000_000 // (len(row) + 1))) + b'],"next_page_uri":null}'
    tracemalloc.start()
    try:
        with pytest.raises(SourceUntrusted, match="far more rows than the 1000"):
            read_page(body, LISTING)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
    few = b'{"recordings":[' + b",".join([row] * 5000) + b'],"next_page_uri":null}'
    assert len(read_page(few, LISTING).items) == 5000


def test_a_mark_before_the_text_of_a_page_is_not_part_of_it() -> None:
    """Some gateways put it there (RFC 8259 8.1: it may be ignored)."""
    assert read_page(b'\xef\xbb\xbf{"recordings":[1],"next_page_uri":null}', LISTING).items == (b"1",)


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_is_accepted_has_the_path_of_the_list_whatever_comes(before: str, after: str) -> None:
    """Only the query of an accepted URI is free, and it is plain URL text."""
    for uri in (before + PATH + after, f"{PATH}?{after}"):
        try:
            accepted = next_page(uri, LISTING)
        except SourceUntrusted:
            continue
        assert accepted.startswith(PATH + "?")
        assert accepted.isascii()
        assert accepted.isprintable()
        assert not set(accepted) & set(' #\\"<>')


def test_the_query_of_a_next_page_is_kept_exactly() -> None:
    """The page token is opaque: nothing of it is decoded or re-encoded."""
    uri = f"{PATH}?DateCreated%3E=2026-01-01&PageSize=1000&Page=1&PageToken=PARE%2Fa+b=="
    assert next_page(uri, LISTING) == uri


def test_of_an_account_only_sid_and_status_are_read() -> None:
    """The token beside them does not get out, not even in the repr."""
    row = json.dumps({"auth_token": "s3cret", "sid": AC, "status": "active"}).encode()
    found = read_subaccount(row, "accounts")
    assert (found.sid, found.status) == (AC, "active")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("sid", [None, 7, "s3cret", AC + "\n"])
def test_an_account_without_valid_sid_is_refused_without_showing_its_row(sid: object) -> None:
    """The row carries a token, so neither message nor cause may show any of it."""
    row = json.dumps({"auth_token": "s3cret", "sid": sid}).encode()
    with pytest.raises(SourceUntrusted) as caught:
        read_subaccount(row, "accounts")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("body", [b"{}", b'{"redirect_to":null}', b'{"redirect_to":"x"', b"[]", b"<a/>"])
def test_a_redirect_that_names_no_place_is_refused(body: bytes) -> None:
    """There is then no content to fetch."""
    with pytest.raises(SourceUntrusted):
        redirect_in(body, required=True, subject="content")


def test_raw_items_do_not_keep_the_page_alive() -> None:
    """Items are copies: holding one does not hold a page of a thousand."""
    body = msgspec.json.encode({"recordings": [{"sid": "x"}], "next_page_uri": None})
    (item,) = read_page(body, LISTING).items
    assert type(item) is bytes


def test_a_page_without_a_next_page_is_the_last_only_when_it_is_not_full() -> None:
    """A member that got lost must not hide the pages behind a full one; a short page has none behind it."""
    rows = ",".join(f'{{"sid":"{n}"}}' for n in range(2))
    assert len(read_page(f'{{"recordings":[{rows}],"page_size":50}}'.encode(), LISTING).items) == 2
    with pytest.raises(SourceUntrusted, match="next_page_uri"):
        read_page(f'{{"recordings":[{rows}],"page_size":2}}'.encode(), LISTING)
