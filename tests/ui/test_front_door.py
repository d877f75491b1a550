"""`addon-export ui` as a user starts it, with another user's page in the same browser, and its end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import httpx
import psutil
import pytest

from assets.runs.pool import POOL
from tests.ui.stand import CHROMIUM, PATIENCE, ROOT, chromium

ATTACK = """<!doctype html><title>attacking</title><iframe src="%(ui)s"></iframe>
<form method=post enctype="text/plain" action="%(graphql)s" target=sink>
<input name='%(before)s' value='%(after)s'></form><iframe name=sink></iframe><script>
const body = %(body)s, ui = %(ui_json)s, graphql = %(graphql_json)s, open = []
const tries = [
  fetch(graphql, {method: 'POST', mode: 'no-cors', credentials: 'include', body}),
  fetch(graphql, {method: 'POST', credentials: 'include', headers: {'Content-Type': 'application/json'}, body}),
  fetch(graphql + '?query=' + encodeURIComponent(JSON.parse(body).query), {mode: 'no-cors', credentials: 'include'}),
  fetch(graphql, {method: 'POST', mode: 'no-cors', credentials: 'include',
    body: new URLSearchParams(JSON.parse(body))}),
  fetch(ui, {credentials: 'include'}).then(reply => reply.text()).then(() => open.push('read')),
  new Promise(done => { const socket = new WebSocket(graphql.replace('http', 'ws'), 'graphql-ws')
    socket.onopen = () => { open.push('socket'); done() }; socket.onclose = socket.onerror = done }),
]
navigator.sendBeacon(graphql, body)
document.forms[0].submit()
Promise.allSettled(tries).then(() => setTimeout(() => { document.title = 'done ' + open.join() }, 500))
</script>"""


@dataclass(frozen=True)
class Running:
    """A UI that runs: its process, the address it printed, and its history."""

    process: "subprocess.Popen[bytes]"
    address: str
    home: Path

    @property
    def graphql(self) -> str:
        """Where changes are asked for."""
        return self.address.partition("?")[0] + "graphql"

    def ask(self, query: str, **headers: str) -> httpx.Response:
        """Ask GraphQL with the token."""
        bearer = f"Bearer {self.address.partition('token=')[2]}"
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            return client.post(self.graphql, json={"query": query}, headers={"Authorization": bearer, **headers})


@pytest.fixture(scope="module", params=[()], ids=["all"])
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Running]:
    """The command, started by somebody whose umask lets everybody in, in a folder with an `assets` of its own."""
    tmp_path = tmp_path_factory.mktemp("ui")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "__init__.py").write_text("raise RuntimeError('this is not ours')")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_", "DISPLAY"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "NO_PROXY": "127.0.0.1,localhost"}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "assets.cli", "ui", "--port", "0", *request.param],
            cwd=tmp_path,
            env=environment,
            stderr=said,
            umask=0,
        )
    try:
        until(lambda: process.poll() is not None or "Ctrl-C" in (tmp_path / "said").read_text(), "it says its address")
        found = re.search(r"http://\S+", (tmp_path / "said").read_text())
        assert found is not None, (tmp_path / "said").read_text()
        yield Running(process, found.group(), tmp_path / ".dagster_home")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_page_of_another_origin_can_change_and_read_nothing(running: Running, tmp_path: Path) -> None:
    """In a browser that is in: by fetch, form, beacon, socket or frame; and it is not told the cookie."""
    ui = running.address.partition("?")[0]
    mutation = json.dumps({"query": f'mutation {{ setConcurrencyLimit(concurrencyKey: "{POOL}", limit: 0) }}'})
    values = {"ui": ui, "graphql": running.graphql, "body": json.dumps(mutation)}
    values |= {"ui_json": json.dumps(ui), "graphql_json": json.dumps(running.graphql)}
    values |= {"before": mutation[:-1] + ', "x": "', "after": '"}'}
    cookies: list[str | None] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers["Cookie"])
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write((ATTACK % values).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the library calls it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger, chromium(tmp_path) as browser:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(running.address)
        page.wait_for_url(lambda url: "token" not in url)
        page.get_by_text("hourly_export").or_(page.get_by_text("Deployment")).first.wait_for()
        for name in ("127.0.0.1", "localhost", "made-up.localhost"):
            page.goto(f"http://{name}:{stranger.server_port}/")
            page.wait_for_function("document.title.startsWith('done')")
            assert page.title() == "done"
        stranger.shutdown()
    assert set(cookies) == {None}
    with dg.DagsterInstance.from_config(str(running.home)) as instance:
        assert all(pool.limit != 0 for pool in instance.event_log_storage.get_pool_limits())
    control = running.ask(json.loads(mutation)["query"]).json()
    assert control["data"]["setConcurrencyLimit"] is True  # the same by who has the token


def test_it_answers_its_own_page_only_and_leaves_nothing_behind(running: Running) -> None:
    """Not without the token, not under another name; sockets are private; a signal ends every process.

    It ends the UI that the test before uses too.
    """
    parts = urlsplit(running.address)
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        for method, path in (("GET", "/"), ("GET", parts.path), ("POST", f"{parts.path}graphql"), ("POST", "/graphql")):
            reply = client.request(method, f"http://{parts.netloc}{path}", json={"query": "{ version }"})
            assert (reply.status_code, reply.text.count("\n")) == (403, 1), path
    assert "data" in running.ask("{ version }").json()
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Content-Type": "text/plain"}):
        assert running.ask("{ version }", **headers).status_code in (403, 415)
    found = running.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }").json()
    assert "delete" in json.dumps(found)
    family = [psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children(recursive=True)]
    assert len(family) >= 3
    sockets = {Path(c.laddr) for p in family for c in p.net_connections("unix") if str(c.laddr).startswith("/")}
    assert sockets
    for place in sockets:
        assert place.parent.stat().st_mode & 0o777 == 0o700
        assert place.stat().st_mode & 0o077 == 0
    listening = {c.laddr for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert {(str(a.ip), a.port) for a in listening} == {("127.0.0.1", parts.port)}
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 130
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), "all are gone")
    assert not any(place.exists() for place in sockets)


@pytest.mark.parametrize("running", [("--read-only",)], indirect=True, ids=["read-only"])
def test_read_only_shows_and_changes_nothing(running: Running) -> None:
    """Also with the token; and no daemon is started."""
    changed = running.ask(f'mutation {{ setConcurrencyLimit(concurrencyKey: "{POOL}", limit: 0) }}').json()
    assert (changed.get("data") or {}).get("setConcurrencyLimit") is not True
    assert "data" in running.ask("{ version }").json()
    children = psutil.Process(running.process.pid).children()
    assert [c for c in children if "daemon" in " ".join(c.cmdline())] == []
