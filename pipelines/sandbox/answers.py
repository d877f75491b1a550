"""What the API answers: a request in, a reply out, as a function of the world and the instant.

One method for each operation of Twilio's OpenAPI document, found by its operation id. Knows credentials,
filters, deletes and Twilio's error codes; does no I/O and keeps no state of its own. Never waits and never
counts: concurrency, latency and the journal are the server's.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from pipelines.sandbox import wire
from pipelines.sandbox.exchange import Refusal, Reply, Request
from pipelines.sandbox.index import Cursor
from pipelines.sandbox.paging import BadQuery, Listing, envelope, listing_of, page_token, read_page_token, window_of
from pipelines.sandbox.values import Account, ApiKey, Payload, Recording, Result
from pipelines.sandbox.world import World

T = TypeVar("T", Account, Recording, Result, Payload)


class Answers:
    """The API's answers from one world. `storage_url` is the second origin's base URL."""

    def __init__(self, world: World, *, secret: bytes, storage_url: str, url_lifetime: timedelta) -> None:
        self.world = world
        self.storage_url = storage_url
        self.url_lifetime = url_lifetime
        self._secret = secret
        self._operations: dict[str, Callable[[Request, datetime], Reply]] = {
            "ListAccount": self._list_accounts,
            "FetchAccount": self._fetch_account,
            "ListRecording": self._list_recordings,
            "FetchRecording": self._fetch_recording,
            "DeleteRecording": self._delete_recording,
            "ListRecordingAddOnResult": self._list_results,
            "FetchRecordingAddOnResult": self._fetch_result,
            "DeleteRecordingAddOnResult": self._delete_result,
            "ListRecordingAddOnResultPayload": self._list_payloads,
            "FetchRecordingAddOnResultPayload": self._fetch_payload,
            "DeleteRecordingAddOnResultPayload": self._delete_payload,
            "FetchRecordingAddOnResultPayloadData": self._fetch_data,
        }

    def admit(self, request: Request) -> str:
        """SID of the account the request counts against.

        Raises:
            Refusal: unknown path or method, bad credential, or one without this permission.
        """
        credential = self._credential(request.authorization)
        if not request.operation:
            raise _not_found(request.path)
        if request.operation not in self._operations:
            raise Refusal(405, 20004, "Method not allowed")
        owner = credential.sid if isinstance(credential, Account) else credential.account_sid
        target = request.sids[0] if request.sids else owner
        if not target.startswith("AC"):
            raise _not_found(request.path)
        account = self.world.accounts.get(target)
        reaches = account is not None and (
            target == owner or (isinstance(credential, Account) and account.owner_account_sid == owner)
        )
        main = isinstance(credential, Account) or credential.main
        if not reaches or (request.operation.endswith("Account") and not main):
            raise _unauthorized()
        if account is not None and account.status != "active" and not request.operation.endswith("Account"):
            raise _unauthorized()
        if request.method == "DELETE" and isinstance(credential, ApiKey) and not credential.may_delete:
            raise Refusal(403, 70051, "Authorization Failed")
        return target

    def answer(self, request: Request, now: datetime) -> Reply:
        """The reply to an admitted request at `now`."""
        try:
            with self.world.lock:
                return self._operations[request.operation](request, now)
        except Refusal as refusal:
            return refusal.reply
        except BadQuery as bad:
            return Reply(400, wire.error(400, bad.code, str(bad)))

    def storage(self, request: Request, now: datetime) -> Reply:
        """The storage origin's reply: the content's bytes, or an object store's XML error."""
        sid = request.path.removeprefix("/add-on-payloads/")
        expires, signature = request.query.get("Expires", ""), request.query.get("Signature", "")
        if request.method != "GET":
            return _storage_error(405, "MethodNotAllowed", "The method is not allowed against this resource.")
        if request.authorization is not None:
            return _storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        if not wire.content_signature_is(signature, sid, expires, self._secret):
            return _storage_error(403, "SignatureDoesNotMatch", "The signature does not match.")
        if now.timestamp() >= int(expires):
            return _storage_error(403, "AccessDenied", "Request has expired")
        with self.world.lock:
            payload = self.world.payloads.get(sid)
            result = self.world.results.get(payload.add_on_result_sid) if payload else None
            found = payload and result and result.shown(now) and self.world.find_payload(result.sid, sid, now)
            if not found:
                return _storage_error(404, "NoSuchKey", "The specified key does not exist.")
            return Reply(200, found.content, found.content_type)

    # -- operations, one each -------------------------------------------------------------------

    def _list_accounts(self, request: Request, now: datetime) -> Reply:
        credential = self._credential(request.authorization)
        owner = credential.sid if isinstance(credential, Account) else credential.account_sid
        name, status = request.query.get("FriendlyName"), request.query.get("Status")

        def rows(cursor: Cursor | None) -> Iterator[Account]:
            for row in self.world.list_accounts(owner, cursor):
                if name in {None, row.friendly_name} and status in {None, row.status}:
                    yield row

        return self._page(request, "accounts", rows, wire.account)

    def _fetch_account(self, request: Request, now: datetime) -> Reply:
        return Reply(200, wire.encode(wire.account(self.world.accounts[request.sids[0]])))

    def _list_recordings(self, request: Request, now: datetime) -> Reply:
        since, until = window_of(request.query)
        call, conference = request.query.get("CallSid"), request.query.get("ConferenceSid")

        def rows(cursor: Cursor | None) -> Iterator[Recording]:
            for row in self.world.list_recordings(
                request.sids[0],
                now,
                cursor=cursor,
                since=since,
                until=until,
                include_soft_deleted=_include_soft_deleted(request),
            ):
                if call in {None, row.call_sid} and conference in {None, row.conference_sid}:
                    yield row

        return self._page(request, "recordings", rows, lambda row: wire.recording(row, now))

    def _fetch_recording(self, request: Request, now: datetime) -> Reply:
        row = self._recording(request, now, include_soft_deleted=_include_soft_deleted(request))
        return Reply(200, wire.encode(wire.recording(row, now)))

    def _delete_recording(self, request: Request, now: datetime) -> Reply:
        self.world.delete(self._recording(request, now, include_soft_deleted=False), now)
        return _GONE

    def _list_results(self, request: Request, now: datetime) -> Reply:
        recording = self._recording(request, now)
        return self._page(
            request,
            "add_on_results",
            lambda cursor: self.world.list_results(recording.sid, now, cursor=cursor),
            lambda row: wire.result(row, now),
        )

    def _fetch_result(self, request: Request, now: datetime) -> Reply:
        return Reply(200, wire.encode(wire.result(self._result(request, now), now)))

    def _delete_result(self, request: Request, now: datetime) -> Reply:
        self.world.delete(self._result(request, now), now)
        return _GONE

    def _list_payloads(self, request: Request, now: datetime) -> Reply:
        result = self._result(request, now)
        return self._page(
            request,
            "payloads",
            lambda cursor: self.world.list_payloads(result.sid, now, cursor=cursor),
            lambda row: wire.payload(row, result),
        )

    def _fetch_payload(self, request: Request, now: datetime) -> Reply:
        payload, result = self._payload(request, now)
        return Reply(200, wire.encode(wire.payload(payload, result)))

    def _delete_payload(self, request: Request, now: datetime) -> Reply:
        payload, _ = self._payload(request, now)
        self.world.delete(payload, now)
        return _GONE

    def _fetch_data(self, request: Request, now: datetime) -> Reply:
        payload, _ = self._payload(request, now)
        expires = int((now + self.url_lifetime).timestamp())
        url = self.storage_url + wire.sign_content(payload.sid, expires, self._secret)
        return Reply(307, wire.encode({"redirect_to": url}), headers=(("location", url),))

    # -- what they share ------------------------------------------------------------------------

    def _credential(self, authorization: str | None) -> Account | ApiKey:
        scheme, _, value = (authorization or "").partition(" ")
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unauthorized() from None  # what was sent is not worth showing
        account, key = self.world.accounts.get(user), self.world.keys.get(user)
        if scheme.lower() != "basic":
            raise _unauthorized()
        if account is not None and account.auth_token == password:
            return account
        if key is not None and key.secret == password:
            return key
        raise _unauthorized()

    def _recording(self, request: Request, now: datetime, *, include_soft_deleted: bool = True) -> Recording:
        account_sid, sid = request.sids[:2]
        row = self.world.find_recording(account_sid, sid, now, include_soft_deleted=include_soft_deleted)
        if row is None:
            raise _not_found(request.path)
        return row

    def _result(self, request: Request, now: datetime) -> Result:
        recording = self._recording(request, now)
        row = self.world.find_result(recording.sid, request.sids[2], now)
        if row is None:
            raise _not_found(request.path)
        return row

    def _payload(self, request: Request, now: datetime) -> tuple[Payload, Result]:
        result = self._result(request, now)
        row = self.world.find_payload(result.sid, request.sids[3], now)
        if row is None:
            raise _not_found(request.path)
        return row, result

    def _page(
        self,
        request: Request,
        name: str,
        rows: Callable[[Cursor | None], Iterator[T]],
        show: Callable[[T], wire.Json],
    ) -> Reply:
        """One page of a list; a page token is the only way to any page but the first."""
        listing = listing_of(request.path, request.query)
        token, cursor = request.query.get("PageToken"), None
        if token is not None:
            cursor = read_page_token(token, listing.scope, self._secret)
        if cursor is None and (token is not None or listing.page > 0):
            raise BadQuery(21481, "Invalid PageToken.")
        found = list(islice(rows(cursor), listing.page_size + 1))
        more, found = len(found) > listing.page_size, found[: listing.page_size]
        newer = cursor is not None and cursor.newer
        if newer:
            found.reverse()
        ends = (found[0], found[-1]) if found else None
        before = ends and (more if newer else cursor is not None) and self._token(ends[0], listing, newer=True)
        after = ends and (newer or more) and self._token(ends[1], listing, newer=False)
        body = envelope(listing, name, [show(row) for row in found], before=before or None, after=after or None)
        return Reply(200, wire.encode(body))

    def _token(self, row: Account | Recording | Result | Payload, listing: Listing, *, newer: bool) -> str:
        return page_token(Cursor((row.date_created, row.sid), newer=newer), listing.scope, self._secret)


_GONE = Reply(204, content_type=None)


def _not_found(path: str) -> Refusal:
    return Refusal(404, 20404, f"The requested resource {path} was not found")


def _unauthorized() -> Refusal:
    return Refusal(401, 20003, "Authenticate")


def _storage_error(status: int, code: str, message: str) -> Reply:
    return Reply(status, wire.storage_error(code, message), "application/xml")


def _include_soft_deleted(request: Request) -> bool:
    return request.query.get("IncludeSoftDeleted", "false").lower() == "true"
