"""Alerts reach their channel or are an error; no message holds a secret, and nothing is said again at once.

The channels are real: an HTTP server and an SMTP server on loopback.
"""

import json
import logging
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.channels import forms as alert_forms
from assets.channels.alert import Alert
from assets.channels.forms import form_of
from assets.channels.send import _tls, channel_names, send
from assets.channels.watch import FailedRun, Said, deadline_alert, failure_alert
from assets.cli.alert import try_channels
from pipelines.errors import AlertNotDelivered, FixConfiguration
from pipelines.monitoring.alerts import alert_settings
from pipelines.monitoring.deadlines import AtRisk, Deadlines
from pipelines.settings import Windows, windows
from pipelines.twilio.certificates import tls_context
from pipelines.variables import FORMS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALERT = Alert("2 expire", ("The nearest is XR1.",), "error", {"at_risk": 2})
LOG = logging.getLogger("test")
SEVEN_AND_THREE = Windows(timedelta(days=7), timedelta(days=3))


@dataclass
class Hook:
    """A webhook that answers what a test wants, and keeps what it was sent."""

    url: str = ""
    status: int = 200
    location: str = ""
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """An HTTP server on loopback."""
    state = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append((self.path, json.loads(body)))
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            state.received.append((self.path, {}))

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/hook/s3cret"
        yield state
        server.shutdown()
        thread.join()


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of an SMTP server as one mail needs; refuses recipients when `refuses` is set."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refuses = False
        super().__init__(("127.0.0.1", 0), Conversation)


class Conversation(socketserver.StreamRequestHandler):
    """One SMTP session."""

    server: Mailbox

    def handle(self) -> None:
        """Answer every command."""
        self.wfile.write(b"220 here\r\n")
        data = False
        while line := self.rfile.readline().decode():
            self.server.lines.append(line.rstrip())
            if data:
                data = line != ".\r\n"
                if not data:
                    self.wfile.write(b"250 kept\r\n")
                continue
            word = line.split()[0].upper()
            data = word == "DATA"
            if word == "RCPT" and self.server.refuses:
                self.wfile.write(b"550 s3cret nobody\r\n")
            else:
                self.wfile.write({"DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n"}.get(word, b"250 ok\r\n"))
            if word == "QUIT":
                return


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """An SMTP server on loopback."""
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_sent_all_of_it_as_json(hook: Hook) -> None:
    """A text for people and every part for programs, in one POST."""
    send(ALERT, "webhook", {"EXPORT_ALERT_WEBHOOK": hook.url}, log=LOG)
    ((path, body),) = hook.received
    assert path == "/hook/s3cret"
    assert body["text"] == "ERROR: 2 expire\nThe nearest is XR1.\nat_risk: 2"
    assert (body["subject"], body["severity"], body["facts"]) == ("2 expire", "error", {"at_risk": 2})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(hook: Hook, status: int) -> None:
    """What was sent to the configured address goes nowhere else."""
    hook.status, hook.location = status, hook.url + "/elsewhere"
    with pytest.raises(AlertNotDelivered, match=f"HTTP {status}, and redirects are not followed"):
        send(ALERT, "webhook", {"EXPORT_ALERT_WEBHOOK": hook.url}, log=LOG)
    assert [path for path, _ in hook.received] == ["/hook/s3cret"]


def test_what_is_not_delivered_is_an_error_without_the_address(hook: Hook) -> None:
    """A refusal and a closed port; neither message nor what it was raised from names the address."""
    hook.status = 500
    for url in (hook.url, "http://127.0.0.1:9/hook/s3cret"):
        with pytest.raises(AlertNotDelivered) as raised:
            send(ALERT, "webhook", {"EXPORT_ALERT_WEBHOOK": url}, log=LOG)
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None


EVIL = Alert("<!here> @everyone", ("<users/all> [x](https://evil.example)", "& more " + "x" * 5000), "error", {"n": 1})


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://hooks.slack.com/services/T/B/x", "slack"),
        ("https://chat.googleapis.com/v1/spaces/x/messages?key=k", "google-chat"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://ptb.discord.com/api/webhooks/1/x", "discord"),
        ("https://contoso.webhook.office.com/webhookb2/x", "teams"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", "teams"),
        ("https://evildiscord.com/api/webhooks/1/x", "json"),
        ("https://hooks.slack.com.example/x", "json"),
    ],
)
def test_the_form_is_that_of_the_host_unless_one_is_chosen(url: str, form: str) -> None:
    """A server of one's own, such as Mattermost, takes a form that is set."""
    assert form_of(url) == form
    assert form_of(url, "slack") == "slack"
    assert form_of(url, alert_settings({"EXPORT_ALERT_FORM": "teams"}).form) == "teams"


@pytest.mark.parametrize("form", FORMS)
def test_an_alert_is_data_in_every_form(form: str, hook: Hook) -> None:
    """All of it arrives within what the chat takes, and none of it is a mention, a link or markup there."""
    answer = send(EVIL, "webhook", {"EXPORT_ALERT_WEBHOOK": hook.url, "EXPORT_ALERT_FORM": form}, log=LOG)
    assert answer == f"it answered HTTP 200 to the form {form}"
    ((_, sent),) = hook.received
    text = json.dumps(sent, ensure_ascii=False)
    if form == "slack":
        assert "<" not in text
        assert (sent["link_names"], sent["mrkdwn"]) == (False, False)
    elif form == "google-chat":
        assert "<" not in text
        assert len(sent["text"].encode()) <= 4_096
    elif form == "discord":
        assert sent["allowed_mentions"] == {"parse": []}
        assert len(sent["content"]) <= 2_000
    elif form == "teams":
        blocks = sent["attachments"][0]["content"]["body"]
        assert {run["type"] for block in blocks for run in block["inlines"]} == {"TextRun"}
    assert "ERROR: " in text


def test_the_forms_that_can_be_set_are_those_there_are() -> None:
    """The settings name what the table holds."""
    assert set(FORMS) == set(alert_forms.FORMS)
    with pytest.raises(FixConfiguration, match="EXPORT_ALERT_FORM is 'irc'"):
        alert_settings({"EXPORT_ALERT_FORM": "irc"})


def test_a_test_is_sent_to_every_channel_and_each_answer_is_printed(
    hook: Hook, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One that refuses keeps the others from nothing; where nobody would be told, that is said."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FixConfiguration, match="Nobody is told"):
        try_channels()
    monkeypatch.setenv("EXPORT_ALERT_WEBHOOK", hook.url)
    monkeypatch.setenv("EXPORT_ALERT_EMAIL_TO", "ops@example.com")
    monkeypatch.setenv("EXPORT_ALERT_EMAIL_FROM", "export@example.com")
    monkeypatch.setenv("EXPORT_SMTP_URL", f"smtp://127.0.0.1:{mailbox.server_address[1]}")
    try_channels()
    hook.status = 403
    with pytest.raises(AlertNotDelivered, match="Of 2 channels 1 did not take the test: webhook"):
        try_channels()
    first, second, refused, mailed = capsys.readouterr().out.splitlines()
    assert first == "webhook: it answered HTTP 200 to the form json"
    assert second == mailed == "email: the mail server took it"
    assert "HTTP 403" in refused
    assert "s3cret" not in refused
    assert len(hook.received) == 2


def test_the_keys_of_a_connection_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE is for debugging of one's own; whoever sets it for an exporter would read its credentials."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    for context in (_tls(), tls_context.__wrapped__()):
        assert context.keylog_filename is None
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert not (tmp_path / "keys").exists()


def test_a_mail_goes_to_everybody_named(mailbox: Mailbox) -> None:
    """Sender, recipients, subject and text."""
    env = {
        "EXPORT_ALERT_EMAIL_TO": "ops@example.com, data@example.com",
        "EXPORT_ALERT_EMAIL_FROM": "export@example.com",
        "EXPORT_SMTP_URL": f"smtp://127.0.0.1:{mailbox.server_address[1]}",
    }
    send(ALERT, "email", env, log=LOG)
    text = "\n".join(mailbox.lines)
    assert text.count("rcpt TO:<") == 2
    assert "Subject: [addon-export] 2 expire" in text
    assert "The nearest is XR1." in text
    mailbox.refuses = True
    with pytest.raises(AlertNotDelivered) as raised:
        send(ALERT, "email", env, log=LOG)
    assert "s3cret" not in str(raised.value)


def test_a_password_is_not_sent_to_another_machine_without_tls() -> None:
    """Plain SMTP is for this machine; elsewhere STARTTLS comes first, or nothing is said."""
    plain = alert_settings(
        {
            "EXPORT_ALERT_EMAIL_TO": "a@b",
            "EXPORT_ALERT_EMAIL_FROM": "c@d",
            "EXPORT_SMTP_URL": "smtp://user:p%40ss@mail.example.com",
        }
    ).mail_server
    assert plain is not None
    assert (plain.tls, plain.loopback, plain.port, plain.password) == (False, False, 587, "p@ss")
    assert "p@ss" not in repr(plain)


def test_a_function_of_the_users_own_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the alert; what it raises is an alert that is not delivered, told by its type only."""
    (tmp_path / "own_channel.py").write_text(
        "told = []\ndef tell(alert):\n    told.append(alert)\ndef fail(alert):\n    raise ValueError('s3cret')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    send(ALERT, "own", {"EXPORT_ALERT_CALLABLE": "own_channel:tell"}, log=LOG)
    assert sys.modules["own_channel"].told == [ALERT]
    for name, reason in (("own_channel:fail", "ValueError"), ("own_channel:none", "AttributeError")):
        with pytest.raises(AlertNotDelivered, match=reason) as raised:
            send(ALERT, "own", {"EXPORT_ALERT_CALLABLE": name}, log=LOG)
        assert "s3cret" not in str(raised.value)


def test_the_log_is_the_channel_when_there_is_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A warning is a warning there, and an error an error."""
    assert channel_names({}) == ("log",)
    assert channel_names({"EXPORT_ALERT_WEBHOOK": "x", "EXPORT_ALERT_EMAIL_TO": "y"}) == ("webhook", "email")
    send(ALERT, "log", {}, log=LOG)
    assert caplog.records[0].levelno == logging.ERROR
    assert "2 expire" in caplog.text


@pytest.mark.parametrize(
    "env",
    [
        {"EXPORT_ALERT_WEBHOOK": "http://example.com/s3cret"},
        {"EXPORT_ALERT_WEBHOOK": "https://user:s3cret@example.com/"},
        {"EXPORT_ALERT_WEBHOOK": "ftp://example.com/s3cret"},
        {"EXPORT_ALERT_WEBHOOK": "https://example.com/s3cret\n/x"},
        {"EXPORT_ALERT_EMAIL_TO": "a@b"},
        {"EXPORT_ALERT_EMAIL_TO": "a@b", "EXPORT_ALERT_EMAIL_FROM": "c@d", "EXPORT_SMTP_URL": "https://s3cret@x"},
        {"EXPORT_ALERT_EMAIL_TO": "a@b\nBcc: e@f", "EXPORT_ALERT_EMAIL_FROM": "c@d", "EXPORT_SMTP_URL": "smtp://x"},
        {"EXPORT_ALERT_CALLABLE": "s3cret function"},
    ],
)
def test_a_setting_that_cannot_be_used_is_said_and_not_repeated(env: dict[str, str]) -> None:
    """One sentence that names the variable."""
    with pytest.raises(FixConfiguration, match=r"EXPORT_(ALERT|SMTP)") as raised:
        alert_settings(env)
    assert "s3cret" not in str(raised.value)


def test_the_windows_can_be_set_and_must_fit_each_other() -> None:
    """Seven days and three; the warning comes first."""
    assert windows({}) == SEVEN_AND_THREE
    with pytest.raises(FixConfiguration, match="EXPORT_ERROR_DAYS is 9"):
        windows({"EXPORT_ERROR_DAYS": "9"})


def waiting(*hours_left: float, at: datetime = NOW, lost: int = 0, silent: float | None = 1) -> Deadlines:
    """What is waiting, by the hours left."""
    risks = tuple(
        AtRisk("result", f"XR{n}", f"RE{n}", date(2026, 11, 1), at + timedelta(hours=left), left, "pending")
        for n, left in enumerate(sorted(hours_left))
    )
    return Deadlines(
        at=at,
        at_risk=tuple(r for r in risks if r.hours_left <= 168),
        nearest=risks[0].expires_at if risks else None,
        slack_hours=risks[0].hours_left if risks else None,
        backlog=len(risks),
        lost=tuple(f"XR{n}" for n in range(lost)),
        silent_for=None if silent is None else timedelta(hours=silent),
    )


@pytest.mark.parametrize(
    ("found", "severity", "subject"),
    [
        (waiting(), None, ""),
        (waiting(200), None, ""),
        (waiting(100, 160), "warning", ": 2 within 7 days"),
        (waiting(10, 71, 100), "error", ": 2 within 3 days"),
        (waiting(lost=3), "error", "Expired at Twilio before they were exported: 3"),
        (waiting(silent=25), None, ""),
        (waiting(silent=27), "warning", "have not been listed"),
        (waiting(silent=80), "error", "have not been listed"),
    ],
)
def test_what_is_worth_an_alert(found: Deadlines, severity: str | None, subject: str) -> None:
    """What is close to its deadline, lost, or not looked for any more."""
    alert, _ = deadline_alert(found, Said(NOW), SEVEN_AND_THREE)
    assert (None if alert is None else alert.severity) == severity
    assert alert is None or subject in alert.subject


def test_a_source_that_was_never_listed_is_told_after_a_day() -> None:
    """Runs that do not even start leave an empty warehouse: then the watch itself says how long."""
    said = Said(NOW)
    assert deadline_alert(waiting(at=NOW + timedelta(hours=20), silent=None), said, SEVEN_AND_THREE)[0] is None
    assert deadline_alert(waiting(at=NOW + timedelta(hours=27), silent=None), said, SEVEN_AND_THREE)[0] is not None


def ticks(hours: float, found: list[float], *, lost: int = 0) -> list[tuple[float, str]]:
    """The alerts of a watch every five minutes, by hour; the cursor goes through text as it does in Dagster."""
    cursor: str | None = None
    told: list[tuple[float, str]] = []
    for n in range(int(hours * 12)):
        at = NOW + timedelta(minutes=5 * n)
        alert, said = deadline_alert(
            waiting(*(left - n / 12 for left in found), at=at, lost=lost), Said.read(cursor, now=at), SEVEN_AND_THREE
        )
        cursor = said.cursor()
        if alert is not None:
            told.append((n / 12, alert.severity))
    return told


def test_an_error_is_repeated_every_hour_and_a_warning_every_day() -> None:
    """For as long as it is so: neither a flood nor silence."""
    assert ticks(48, [167]) == [(0.0, "warning"), (24.0, "warning")]
    assert ticks(4, [60]) == [(0.0, "error"), (1.0, "error"), (2.0, "error"), (3.0, "error")]
    assert ticks(30, [73])[:3] == [(0.0, "warning"), (1.0, "error"), (2.0, "error")]


def test_what_is_lost_is_told_once() -> None:
    """It cannot be had back; more of it is told again, also after some has turned up."""
    assert ticks(50, [], lost=2) == [(0.0, "error")]
    _, said = deadline_alert(waiting(lost=2), Said(NOW), SEVEN_AND_THREE)
    _, said = deadline_alert(waiting(lost=1), said, SEVEN_AND_THREE)
    alert, _ = deadline_alert(waiting(lost=2), said, SEVEN_AND_THREE)
    assert alert is not None


def test_a_cursor_that_is_ahead_of_what_is_lost_hides_none_of_it() -> None:
    """It says that more was told than there is: that cannot be right, and all is told again, once."""
    alert, said = deadline_alert(waiting(lost=2), Said(NOW, lost=999_999), SEVEN_AND_THREE)
    assert alert is not None
    assert deadline_alert(waiting(lost=2), said, SEVEN_AND_THREE)[0] is None


def test_a_cursor_that_cannot_be_read_begins_anew() -> None:
    """Whatever is in it: a tick that fails would fail for ever, and nobody be told."""
    whole = {"since": NOW.isoformat(), "at": {}, "lost": 1}
    assert Said.read(json.dumps(whole), now=NOW) == Said(NOW, lost=1)
    for odd in ("[" * 5000, json.dumps({**whole, "lost": float("inf")}), json.dumps({**whole, "at": {"error": 3}})):
        assert Said.read(odd, now=NOW) == Said(NOW)


@given(
    left=st.lists(st.floats(0.1, 500), max_size=5),
    ago=st.floats(0, 100),
    severity=st.sampled_from(["warning", "error"]),
)
def test_nothing_close_to_its_deadline_is_ever_quiet_for_a_day(left: list[float], ago: float, severity: Any) -> None:
    """Whatever has been said before: within a day of the last alert there is the next one."""
    said = Said(NOW - timedelta(hours=200), {severity: NOW - timedelta(hours=ago)})
    alert, _ = deadline_alert(waiting(*left), said, SEVEN_AND_THREE)
    due = any(hours <= 168 for hours in left) and ago >= 24
    assert alert is not None or not due


def test_the_same_failure_is_told_every_six_hours() -> None:
    """An hourly export that fails for one reason is told four times a day; another reason at once."""
    said: Any = {}
    told = []
    for hour in range(13):
        now = NOW + timedelta(hours=hour)
        alert, said = failure_alert([FailedRun(f"run{hour}", "export", "No credentials.")], said, now=now)
        if alert is not None:
            told.append(hour)
    assert told == [0, 6, 12]
    alert, _ = failure_alert([FailedRun("r", "export", "No space left.")], said, now=NOW + timedelta(hours=13))
    assert alert is not None
    assert "No space left." in alert.text


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_webhook_is_not_told_to_a_proxy(hook: Hook, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is a secret, and a proxy of the environment would see it; nobody listens there."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    send(ALERT, "webhook", {"EXPORT_ALERT_WEBHOOK": hook.url}, log=LOG)
    assert len(hook.received) == 1
