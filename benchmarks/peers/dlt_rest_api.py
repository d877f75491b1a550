"""dlt's rest_api source into DuckDB, resources parallelised; contents through a transformer of its own."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import dlt
from dlt.sources.helpers import requests
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from dlt.sources.rest_api import RESTAPIConfig, rest_api_resources

_AUTH = (os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"])
_BASE = os.environ["TWILIO_BASE_URL"]

_CONFIG: RESTAPIConfig = {
    "client": {
        "base_url": f"{_BASE}/2010-04-01/Accounts/{_AUTH[0]}/",
        "auth": {"type": "http_basic", "username": _AUTH[0], "password": _AUTH[1]},
        "paginator": JSONLinkPaginator(next_url_path="next_page_uri"),
    },
    "resource_defaults": {"write_disposition": "append", "parallelized": True},
    "resources": [
        {
            "name": "recordings",
            "endpoint": {
                "path": "Recordings.json",
                "params": {"PageSize": 1000, "IncludeSoftDeleted": "true"},
                "data_selector": "recordings",
            },
        },
        {
            "name": "add_on_results",
            "endpoint": {
                "path": "Recordings/{resources.recordings.sid}/AddOnResults.json",
                "data_selector": "add_on_results",
            },
        },
        {
            "name": "add_on_payloads",
            "endpoint": {
                "path": "Recordings/{resources.add_on_results.reference_sid}/AddOnResults"
                "/{resources.add_on_results.sid}/Payloads.json",
                "data_selector": "payloads",
            },
        },
    ],
}


@dlt.source(name="twilio")  # type: ignore[untyped-decorator]  # dlt is installed for the peers only
def twilio() -> Iterator[Any]:
    """All resources, contents included."""
    resources = {resource.name: resource for resource in rest_api_resources(_CONFIG)}

    @dlt.transformer(write_disposition="append")  # type: ignore[untyped-decorator]  # dlt is installed for the peers only
    def contents(payloads: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """The content of each payload; requests follows the redirect and drops the credentials on the way."""

        @dlt.defer  # type: ignore[untyped-decorator]  # dlt is installed for the peers only
        def content(payload: dict[str, Any]) -> dict[str, Any]:
            reply = requests.get(_BASE + payload["subresource_uris"]["data"], auth=_AUTH)
            return {"payload_sid": payload["sid"], "content": reply.content}

        for payload in payloads:
            yield content(payload)

    yield from resources.values()
    yield resources["add_on_payloads"] | contents


def main() -> None:
    """Extract, normalise and load everything."""
    pipeline = dlt.pipeline(
        "benchmark",
        pipelines_dir="pipelines",
        destination=dlt.destinations.duckdb(os.environ["BENCH_DATABASE"]),
        dataset_name="twilio",
    )
    pipeline.run(twilio()).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
