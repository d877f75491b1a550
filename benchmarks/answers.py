"""What the benchmark's API says: the made-up account as the pages and redirects of Twilio's v2010 API. Pure.

Templates instead of a JSON encoder: a page costs the server microseconds. Dates filter as the real ones do, by
UTC day; the day named by `DateCreated<` is left out.
"""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

from benchmarks import data
from benchmarks.data import Settings

_ROOT = "/2010-04-01/Accounts/"
NOT_FOUND = b'{"code":20404,"message":"The requested resource was not found","more_info":"","status":404}'
_PAGE = b'{"end":%d,"first_page_uri":"%b","next_page_uri":%b,"page":%d,"page_size":%d,"previous_page_uri":null,"start":%d,"uri":"%b","%b":[%b]}'  # noqa: E501  # one template
_RECORDING = (
    '{{"account_sid":"{account}","api_version":"2010-04-01","call_sid":"CA{number:032x}","conference_sid":null,'
    '"channels":1,"date_created":"{date}","date_updated":"{date}","start_time":"{date}","price":"-0.00250",'
    '"price_unit":"USD","duration":"{duration}","sid":"{sid}","source":"StartConferenceRecordingAPI",'
    '"status":"completed","error_code":null,"encryption_details":null,"uri":"{base}/{sid}.json",'
    '"media_url":"https://api.twilio.com{base}/{sid}","subresource_uris":{{"add_on_results":'
    '"{base}/{sid}/AddOnResults.json","transcriptions":"{base}/{sid}/Transcriptions.json"}}}}'
)
_RESULT = (
    '{{"sid":"{sid}","account_sid":"{account}","reference_sid":"{recording}","status":"completed",'
    '"add_on_sid":"XBaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",'
    '"add_on_configuration_sid":"XEaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","date_created":"{created}",'
    '"date_updated":"{completed}","date_completed":"{completed}",'
    '"subresource_uris":{{"payloads":"{base}/{sid}/Payloads.json"}}}}'
)
_PAYLOAD = (
    '{{"sid":"{sid}","add_on_result_sid":"{result}","account_sid":"{account}","label":"transcript",'
    '"add_on_sid":"XBaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",'
    '"add_on_configuration_sid":"XEaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","content_type":"application/json",'
    '"date_created":"{date}","date_updated":"{date}","reference_sid":"{recording}",'
    '"subresource_uris":{{"data":"{base}/{sid}/Data.json"}}}}'
)
Answer = tuple[str, int, bytes, bytes]
"""Kind of resource, status, further headers, body."""


class Account:
    """The answers of the API for one made-up account."""

    def __init__(self, settings: Settings, storage_url: str) -> None:
        self.settings = settings
        self.storage_url = storage_url

    def answer(self, target: str) -> Answer:
        """What the API says to a GET of this path and query."""
        path, _, query = target.partition("?")
        if not path.startswith(_ROOT):
            return "other", 404, b"", NOT_FOUND
        match path[len(_ROOT) :].split("/"):
            case [account, "Recordings.json"]:
                return "recordings", 200, b"", self._recordings(account, dict(parse_qsl(query)), query)
            case [account, "Recordings", recording, "AddOnResults.json"]:
                return "add_on_results", 200, b"", self._results(account, recording)
            case [account, "Recordings", recording, "AddOnResults", result, "Payloads.json"]:
                return "payloads", 200, b"", self._payloads(account, recording, result)
            case [_, "Recordings", _, "AddOnResults", _, "Payloads", payload, "Data.json"]:
                where = f"{self.storage_url}/contents/{payload}?X-Amz-Signature={'f' * 64}".encode()
                return "data", 307, b"Location: %b\r\n" % where, b'{"redirect_to":"%b"}' % where
            case _:
                return "other", 404, b"", NOT_FOUND

    def _recordings(self, account: str, query: dict[str, str], raw: str) -> bytes:
        size = min(max(int(query.get("PageSize", "50")), 1), 1000)
        page = int(query.get("Page", "0"))
        first, end = _day(query.get("DateCreated>"), 0), _day(query.get("DateCreated<"), 1 << 40)
        if (day := query.get("DateCreated")) is not None:
            first, end = _day(day, 0), _day(day, 0) + 86400
        numbers = self.settings.created_between(first, end)
        if token := query.get("PageToken"):
            numbers = range(int(token.removeprefix("PARE"), 16) + 1, numbers.stop)
        shown = numbers[:size]
        base = f"{_ROOT}{account}/Recordings"
        after = None
        if len(numbers) > size:
            filters = "&".join(p for p in raw.split("&") if p and p.split("=")[0] not in ("Page", "PageToken"))
            after = f"{base}.json?{filters}&Page={page + 1}&PageToken=PARE{shown[-1]:032x}"
        rows = ",".join(
            _RECORDING.format(
                account=account,
                number=number,
                sid=data.recording_sid(number),
                date=_date(self.settings.created(number)),
                duration=30 + number % 3600,
                base=base,
            )
            for number in shown
        )
        return _page("recordings", rows, len(shown), f"{base}.json", page=page, size=size, after=after)

    def _results(self, account: str, recording: str) -> bytes:
        number = int(recording.removeprefix("RE"), 16)
        base = f"{_ROOT}{account}/Recordings/{recording}/AddOnResults"
        created = self.settings.created(number)
        count = self.settings.results_of(number) if number < self.settings.recordings else 0
        rows = ",".join(
            _RESULT.format(
                sid=data.result_sid(number, k),
                account=account,
                recording=recording,
                created=_date(created + 30),
                completed=_date(created + 90),
                base=base,
            )
            for k in range(count)
        )
        return _page("add_on_results", rows, count, f"{base}.json")

    def _payloads(self, account: str, recording: str, result: str) -> bytes:
        number, k = int(result[2:26], 16), int(result[26:], 16)
        base = f"{_ROOT}{account}/Recordings/{recording}/AddOnResults/{result}/Payloads"
        count = self.settings.payloads_of(number, k)
        date = _date(self.settings.created(number) + 80)
        rows = ",".join(
            _PAYLOAD.format(
                sid=data.payload_sid(number, k, p),
                result=result,
                account=account,
                recording=recording,
                date=date,
                base=base,
            )
            for p in range(count)
        )
        return _page("payloads", rows, count, f"{base}.json")


def _page(
    key: str, rows: str, count: int, uri: str, *, page: int = 0, size: int = 50, after: str | None = None
) -> bytes:
    first = f"{uri}?PageSize={size}&Page=0".encode()
    this = f"{uri}?PageSize={size}&Page={page}".encode()
    following = b"null" if after is None else f'"{after}"'.encode()
    start = page * size
    end = start + max(0, count - 1)
    return _PAGE % (end, first, following, page, size, start, this, key.encode(), rows.encode())


def _date(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%a, %d %b %Y %H:%M:%S +0000}"


def _day(text: str | None, missing: float) -> float:
    """Midnight (UTC) of a date, seconds since 1970."""
    return missing if text is None else datetime.fromisoformat(text[:10]).replace(tzinfo=UTC).timestamp()
