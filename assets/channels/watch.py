"""What is worth an alert, and when to say it again. Pure: sensors hand in what they see and keep what was said.

What is said looks at the warehouse and not at runs, so it is said when runs are stuck, fail or never start. A warning
is repeated once a day and an error once an hour, for as long as the reason is there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from assets.channels.alert import Alert, Severity
from pipelines.monitoring.deadlines import AtRisk, Deadlines
from pipelines.settings import Windows

REPEAT: Mapping[Severity, timedelta] = {"warning": timedelta(days=1), "error": timedelta(hours=1)}

SILENT_WARN = timedelta(hours=26)
"""How long the list of recordings may go unread: more than a day and the two hours that a sweep may take."""

SILENT_ERROR = timedelta(hours=72)

SAME_FAILURE = timedelta(hours=6)
"""How soon the same job's failing for the same reason is said again."""

NAMED = 5
"""SIDs or runs named in an alert."""

MINUTES = timedelta(minutes=2)
"""Ticks do not come on the second: an alert that is due within this is due."""


@dataclass(frozen=True, slots=True)
class Said:
    """What has been said, as a sensor's cursor keeps it.

    Attributes:
        since: when watching began.
        at: when an alert of each severity was sent last.
        lost: how many lost results have been told of.
        ended: accounts of which it was told that they have ended with results that are not exported.
    """

    since: datetime
    at: Mapping[Severity, datetime] = field(default_factory=dict)
    lost: int = 0
    ended: tuple[str, ...] = ()

    def cursor(self) -> str:
        """As text."""
        times = {severity: at.isoformat() for severity, at in self.at.items()}
        return json.dumps({"since": self.since.isoformat(), "at": times, "lost": self.lost, "ended": self.ended})

    @classmethod
    def read(cls, cursor: str | None, *, now: datetime) -> "Said":
        """From text; nothing has been said when there is none, or none that was written here.

        Whoever gets into the UI may set a cursor: what it says of times to come is not believed.
        """
        try:
            kept = json.loads(cursor or "")
            since = min(datetime.fromisoformat(kept["since"]), now)
            told = {name: datetime.fromisoformat(kept["at"][name]) for name in REPEAT if name in kept["at"]}
            times = {name: at for name, at in told.items() if at <= now + MINUTES}
            return cls(since, times, max(0, int(kept["lost"])), tuple(map(str, kept.get("ended", ()))))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls(now)

    def due(self, severity: Severity, *, now: datetime) -> bool:
        """Whether an alert of this severity may be sent again; one of a higher severity counts for it."""
        last = max((at for kind, at in self.at.items() if kind in (severity, "error")), default=None)
        return last is None or last > now + MINUTES or now - last >= REPEAT[severity] - MINUTES


def deadline_alert(
    found: Deadlines, said: Said, windows: Windows, *, off: str | None = None
) -> tuple[Alert | None, Said]:
    """The alert that is due, if any, and what has been said once it is delivered.

    `off` is the sentence on what should run by itself and was switched off, if anything was.
    """
    now = found.at
    urgent = sum(risk.expires_at <= now + windows.error for risk in found.at_risk)
    # more told than there are: a cursor that cannot be right, and all of them are told again
    newly_lost = len(found.lost) - (said.lost if said.lost <= len(found.lost) else 0)
    silence = now - said.since if found.silent_for is None else found.silent_for
    ended = {label: count for label, count in found.ended.items() if label not in said.ended}
    severity: Severity | None = None
    if urgent or newly_lost or ended or silence >= SILENT_ERROR:
        severity = "error"
    elif found.at_risk or silence >= SILENT_WARN or off is not None or found.erasure is not None:
        severity = "warning"
    if severity is None or not (newly_lost or ended or said.due(severity, now=now)):
        return None, replace(said, lost=min(said.lost, len(found.lost)))  # what turned up again may be lost again
    alert = Alert(
        _subject(found, windows, urgent=urgent, newly_lost=newly_lost, ended=sum(ended.values()), silence=silence),
        (
            *_endings(ended),
            *_sentences(found, newly_lost=newly_lost, silence=silence),
            *([] if off is None else [off]),
        ),
        severity,
        _facts(found, urgent=urgent, silence=silence),
    )
    return alert, Said(said.since, {**said.at, severity: now}, len(found.lost), tuple(found.ended))


def _endings(ended: Mapping[str, int]) -> list[str]:
    """What is told once of accounts that are not wanted any more: what they have left behind."""
    return [
        f"{count} results of account {label}, are not exported and can no longer be had."
        for label, count in ended.items()
    ]


def _subject(
    found: Deadlines, windows: Windows, *, urgent: int, newly_lost: int, ended: int, silence: timedelta
) -> str:
    if ended and not (newly_lost or urgent):
        return f"Not exported of accounts that have ended: {ended}"
    if newly_lost:
        return f"Expired at Twilio before they were exported: {newly_lost}"
    if found.at_risk:
        days = windows.error.days if urgent else windows.warn.days
        return f"Not exported and close to the deadline: {urgent or len(found.at_risk)} within {days} days"
    if silence >= SILENT_WARN:
        return "Twilio's recordings have not been listed for more than a day"
    if found.erasure is not None:
        return "An erasure by age waits"
    return "What should export and alert by itself is switched off"


def _sentences(found: Deadlines, *, newly_lost: int, silence: timedelta) -> list[str]:
    sentences = []
    if newly_lost:
        sentences.append(f"{newly_lost} results are lost: Twilio no longer has them, and they are not whole here.")
    if found.at_risk:
        first = found.at_risk[0]
        sentences.append(
            f"The nearest is {first.kind} {first.sid}{_of(first)} ({first.reason}): {first.hours_left:g} hours are "
            f"left, until {first.expires_at:%Y-%m-%d %H:%M} UTC."
        )
        named = ", ".join(risk.sid for risk in found.at_risk[:NAMED])
        more = f" and {len(found.at_risk) - NAMED} more" if len(found.at_risk) > NAMED else ""
        sentences.append(f"Nearest first: {named}{more}.")
    if silence >= SILENT_WARN:
        hours = round(silence.total_seconds() / 3600)
        sentences.append(f"The list of recordings has not been read to its end for {hours} hours: are exports running?")
        sentences += _silent(found)
    if found.erasure is not None:
        sentences.append(found.erasure)
    return sentences


def _of(risk: AtRisk) -> str:
    return f" of account {risk.account}" if risk.account else ""


def _silent(found: Deadlines) -> list[str]:
    """Which accounts are not listed: one that fails beside others that do not is another trouble than none at all."""
    silent = sorted(label for label, silence in found.silent.items() if silence >= SILENT_WARN)
    if not silent:
        return []
    more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
    others = len(found.silent) - len(silent)
    of = f"; {others} others are listed" if others else ""
    return [f"Account {', '.join(silent[:NAMED])}{more}{of}."]


def _facts(found: Deadlines, *, urgent: int, silence: timedelta) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {
        "at_risk": len(found.at_risk),
        "at_risk_soon": urgent,
        "backlog": found.backlog,
        "lost": len(found.lost),
        "hours_since_listing": round(silence.total_seconds() / 3600, 1),
    }
    if found.slack_hours is not None:
        facts["hours_to_nearest_deadline"] = found.slack_hours
    return facts


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed, with the reason in one sentence that holds no secret."""

    run_id: str
    job: str
    reason: str


def failure_alert(
    failed: Sequence[FailedRun], said: Mapping[str, datetime], *, now: datetime
) -> tuple[Alert | None, Mapping[str, datetime]]:
    """The alert on failed runs, and when each reason was said; the same reason is said again after SAME_FAILURE."""
    kept = {reason: at for reason, at in said.items() if abs(now - at) < SAME_FAILURE}
    news = [run for run in failed if f"{run.job}: {run.reason}" not in kept]
    if not news:
        return None, kept
    subject = f"The run of {news[0].job} failed" if len(news) == 1 else f"{len(news)} runs failed"
    sentences = [f"{run.job} {run.run_id}: {run.reason}" for run in news[:NAMED]]
    if len(news) > NAMED:
        sentences.append(f"And {len(news) - NAMED} more.")
    alert = Alert(subject, tuple(sentences), "error", {"failed_runs": len(news)})
    return alert, {**kept, **{f"{run.job}: {run.reason}": now for run in news}}
