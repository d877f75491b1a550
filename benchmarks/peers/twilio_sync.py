"""Twilio's own package in a plain loop, as its documentation shows; contents by `requests`, which it is built on."""

import os
from operator import attrgetter
from typing import Any

import requests
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from benchmarks.peers.landing import COLUMNS, Landing


class _Elsewhere(TwilioHttpClient):  # type: ignore[misc]  # twilio ships no types
    """Sends to the benchmark's server what is meant for api.twilio.com."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(
            method, url.replace("https://api.twilio.com", os.environ["TWILIO_BASE_URL"]), *args, **kwargs
        )


def main() -> None:
    """Export everything."""
    fields = {table: attrgetter(*names) for table, names in COLUMNS.items() if table != "contents"}
    client = Client(
        os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"], http_client=_Elsewhere(timeout=30)
    )
    storage = requests.Session()
    with Landing(os.environ["BENCH_DATABASE"]) as landing:
        for recording in client.recordings.stream(page_size=1000, include_soft_deleted=True):
            landing.add("recordings", fields["recordings"](recording))
            for result in recording.add_on_results.list():
                landing.add("add_on_results", fields["add_on_results"](result))
                for payload in result.payloads.list():
                    landing.add("add_on_payloads", fields["add_on_payloads"](payload))
                    url = payload.data().fetch().redirect_to
                    reply = storage.get(url, timeout=30)
                    reply.raise_for_status()
                    landing.add("contents", (payload.sid, reply.content))


if __name__ == "__main__":
    main()
