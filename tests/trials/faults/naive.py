"""The control: what many write on a Sunday, with httpx, `.get` and a hope. It must lose, garble and not notice."""

import contextlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

import httpx

ROWS = 100
"""Rows of a list that are followed: a bad page may hold a million, and asking for each would take minutes."""


@dataclass
class Naive:
    """Reads everything into dictionaries; what raises is left out, and nobody hears of it."""

    base_url: str
    account: str
    token: str
    results: set[str] = field(default_factory=set)
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 by payload."""

    def export(self, first: date, days: int) -> None:
        """Read the recordings of these days and all below them."""
        with httpx.Client(base_url=self.base_url, auth=(self.account, self.token), timeout=1.0) as http:
            root = f"/2010-04-01/Accounts/{self.account}/Recordings"
            for day in (first + timedelta(days=n) for n in range(days)):
                params = f"DateCreated%3E={day}&DateCreated%3C={day + timedelta(days=1)}&IncludeSoftDeleted=true"
                for recording in self._list(http, f"{root}.json?{params}", "recordings"):
                    below = f"{root}/{recording.get('sid')}/AddOnResults"
                    for result in self._list(http, f"{below}.json", "add_on_results"):
                        self.results.add(str(result.get("sid")))
                        payloads = f"{below}/{result.get('sid')}/Payloads"
                        for payload in self._list(http, f"{payloads}.json", "payloads"):
                            with contextlib.suppress(Exception):
                                url = f"{payloads}/{payload.get('sid')}/Data.json"
                                body = http.get(url, follow_redirects=True).content
                                self.contents[str(payload.get("sid"))] = sha256(body).hexdigest()

    def _list(self, http: httpx.Client, url: str | None, key: str) -> list[dict[str, Any]]:
        found: list[Any] = []
        with contextlib.suppress(Exception):
            for _ in range(20):
                page = http.get(url or "").json()
                found += page.get(key, [])
                url = page.get("next_page_uri")
                if not url:
                    break
        return [row for row in found if isinstance(row, dict)][:ROWS]
