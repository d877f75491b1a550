"""The figures of the page that `addon-export report` writes: each a question in SQL over `addons.duckdb`.

All are asked of one published file at one moment. None reads a content, nor a text that was made of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import duckdb

from warehouse.errors import FixWarehouse
from warehouse.published.query import Answer, asked, read_only
from warehouse.states import OPEN_STATES, RETENTION, STATES, state_in
from warehouse.store.names import PUBLISHED

DAYS = RETENTION.days
"""How many days before today have a row of their own: what completed before them Twilio has deleted."""

LOADED_DAYS = 60
"""How many days before today show what was landed on them."""

SHOWN = 20
"""Rows of a list that has no end."""

_LAST_DAYS = "SELECT unnest(range(current_date - {}, current_date + 1, INTERVAL 1 DAY))::DATE AS day"

_HOURS_LEFT = "round(date_diff('second', now(), min(expires_at)) / 3600.0, 1)"

_ADD_ON = "coalesce(add_on, add_on_sid, 'unknown')"

LATENCIES = ((60, "≤ 1 min"), (300, "≤ 5 min"), (900, "≤ 15 min"), (3600, "≤ 1 h"), (21600, "≤ 6 h"))
"""Steps of the distribution of latencies: seconds and a name each; what takes longer is one more."""

SHARES = ((0.0, "none"), (0.01, "≤ 1 %"), (0.05, "≤ 5 %"), (0.1, "≤ 10 %"), (0.5, "≤ 50 %"))
"""Steps of the distribution of shares of failed results."""


def names(steps: Sequence[tuple[float, str]]) -> list[str]:
    """The names of steps, with the one for more than the last."""
    return [*(name for _, name in steps), steps[-1][1].replace("≤", ">")]


def _step(value: str, steps: Sequence[tuple[float, str]]) -> str:
    """SQL for the number of the first of `steps` that a value does not exceed, and its name."""
    cases = " ".join(f"WHEN {value} <= {most} THEN {at}" for at, (most, _) in enumerate(steps))
    return f"CASE {cases} ELSE {len(steps)} END AS step, {names(steps)}[step + 1]"


def _counts(states: Sequence[str]) -> str:
    """SQL for how many are in each of these states."""
    return ", ".join(f"count(*) FILTER (state = '{each}') AS {each}" for each in states)


_ONCE = """
CREATE TEMP TABLE add_on_result_details AS
SELECT * EXCLUDE (reference_sid, call_sid, account_sid, date_created, date_completed) FROM main.add_on_result_details
"""
"""The view that most of them ask, also through `add_ons`, worked out once: under its own name, so that each can be
asked without this too. Of 100,000 results all take 0.4 s of CPU for 0.9 s, over Parquet 0.7 s for 2.8 s.
"""

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "made": "SELECT now() AS asked_at, number AS commit, committed_at, published_at FROM _commit",
        "states": f"""
            SELECT state, count(sid) AS results, {_HOURS_LEFT} AS hours_left
            FROM (SELECT unnest({list(STATES)}) AS state) LEFT JOIN add_on_result_details USING (state)
            GROUP BY state ORDER BY list_position({list(STATES)}, state)""",
        "held": """
            SELECT (SELECT count(*) FROM recordings) AS recordings, count(*) AS payloads,
                count(content_sha256) AS contents, coalesce(sum(content_length), 0)::BIGINT AS content_bytes,
                (SELECT round(coalesce(sum(duration_seconds), 0) / 3600, 2) FROM add_on_result_details) AS audio_hours
            FROM add_on_payloads""",
        "days": f"""
            SELECT d.day AS completed_date, {_counts(STATES)},
                {_HOURS_LEFT} AS hours_left
            FROM ({_LAST_DAYS.format(DAYS)} UNION ALL SELECT NULL) d
            LEFT JOIN add_on_result_details r ON r.completed_date IS NOT DISTINCT FROM d.day
            GROUP BY d.day ORDER BY d.day NULLS LAST""",
        "deadlines": f"""
            SELECT d.day AS expires_on, {_counts(OPEN_STATES)}
            FROM (SELECT unnest(range(current_date, current_date + {DAYS + 1}, INTERVAL 1 DAY))::DATE AS day) d
            LEFT JOIN add_on_result_details r ON r.expires_at::DATE = d.day AND {state_in(OPEN_STATES)}
            GROUP BY d.day ORDER BY d.day""",
        "next": f"""
            SELECT sid, {_ADD_ON} AS add_on, status, state, expires_at,
                round(date_diff('second', now(), expires_at) / 3600.0, 1) AS hours_left
            FROM add_on_result_details WHERE {state_in(OPEN_STATES)}
            ORDER BY expires_at NULLS LAST, sid LIMIT {SHOWN}""",
        "add_on_days": f"""
            SELECT completed_date, {_ADD_ON} AS add_on, count(*) AS results,
                round(coalesce(sum(duration_seconds), 0) / 3600, 2) AS audio_hours
            FROM add_on_result_details WHERE completed_date >= current_date - {DAYS}
            GROUP BY ALL ORDER BY ALL""",
        "add_ons": """
            SELECT coalesce(name, add_on_sid, 'unknown') AS add_on, results, coalesce(completed, 0) AS completed,
                coalesce(failed, 0) AS failed, coalesce(canceled, 0) AS canceled,
                round(100 * failure_rate, 2) AS failed_percent, round(latency_seconds_median, 1) AS median_seconds,
                round(latency_seconds_p95, 1) AS p95_seconds,
                round(coalesce(recording_seconds, 0) / 3600, 2) AS audio_hours,
                coalesce(content_bytes, 0) AS content_bytes
            FROM add_ons ORDER BY results DESC, add_on""",
        "latencies": f"""
            SELECT {_step("latency_seconds", LATENCIES)} AS latency, {_ADD_ON} AS add_on, count(*) AS results
            FROM add_on_result_details WHERE status = 'completed' AND latency_seconds IS NOT NULL
            GROUP BY ALL ORDER BY ALL""",
        "failures": f"""
            SELECT {_step("rate", SHARES)} AS failed_share, add_on, count(*) AS days
            FROM (
                SELECT completed_date, {_ADD_ON} AS add_on, count(*) FILTER (status = 'failed') / count(*) AS rate
                FROM add_on_result_details
                WHERE completed_date IS NOT NULL AND status IN ('completed', 'failed') GROUP BY ALL
            ) GROUP BY ALL ORDER BY ALL""",
        "loads": f"""
            SELECT d.day AS loaded_on, count(load_id) AS loads, coalesce(sum(recordings), 0)::BIGINT AS recordings,
                coalesce(sum(add_on_results), 0)::BIGINT AS add_on_results,
                coalesce(sum(contents), 0)::BIGINT AS contents,
                coalesce(sum(content_bytes), 0)::BIGINT AS content_bytes,
                coalesce(sum(quarantine), 0)::BIGINT AS quarantine
            FROM ({_LAST_DAYS.format(LOADED_DAYS)}) d LEFT JOIN loads l ON l.loaded_at::DATE = d.day
            GROUP BY d.day ORDER BY d.day""",
        "runs": f"""
            SELECT run_id, max(loaded_at) AS landed_at, sum(add_on_results)::BIGINT AS add_on_results,
                sum(contents)::BIGINT AS contents
            FROM loads WHERE loaded_at >= current_date - {LOADED_DAYS} GROUP BY run_id ORDER BY landed_at, run_id""",
        "listings": """
            SELECT account_sid, max(listed_at) AS listed_at, min(first_day) AS first_day, max(last_day) AS last_day
            FROM listings GROUP BY account_sid ORDER BY listed_at, account_sid""",
        "quarantine": f"""
            SELECT kind, coalesce(how, 'open') AS became, reason, count(*) AS rows, max(quarantined_at) AS last_at
            FROM quarantine LEFT JOIN resolutions USING (quarantine_id)
            GROUP BY ALL ORDER BY rows DESC, kind, became, reason LIMIT {SHOWN}""",
        "quarantined": """
            SELECT kind, count(*) FILTER (how IS NULL) AS open, count(*) FILTER (how = 'landed') AS landed,
                count(*) FILTER (how = 'dismissed') AS dismissed
            FROM quarantine LEFT JOIN resolutions USING (quarantine_id) GROUP BY kind ORDER BY kind""",
        "deletions": """
            SELECT step, count(*) AS steps, count(DISTINCT add_on_result_sid) AS results,
                count(DISTINCT plan_hash) AS plans, min(step_at) AS first_at, max(step_at) AS last_at
            FROM deletions GROUP BY step ORDER BY min(sequence)""",
        "erasures": """
            SELECT kind, coalesce(reason, '') AS reason, count(*) AS erased, sum(rows)::BIGINT AS rows,
                max(erased_at) AS last_at
            FROM erasures GROUP BY ALL ORDER BY rows DESC NULLS LAST, kind, reason""",
    }
)
"""Each by its name. Of `days` and `loads` every day has a row, also one on which nothing was."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The answer to one question: names of the columns, and the rows; times are text, as DuckDB writes them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def column(self, name: str) -> tuple[object, ...]:
        """The values of a column."""
        at = self.columns.index(name)
        return tuple(row[at] for row in self.rows)


def figures(root: Path) -> Mapping[str, Figure]:
    """Every figure of what is published under `root`.

    Raises:
        FixWarehouse: there is nothing, or it cannot be read.
        Untrusted: a live file is a link.
    """
    with read_only(root) as db:
        try:
            db.execute("BEGIN TRANSACTION")  # so that now() is the same in all of them
            db.execute(_ONCE)
            return {name: _figure(asked(db, sql)) for name, sql in FIGURES.items()}
        except duckdb.Error as error:
            raise FixWarehouse(f"{PUBLISHED} cannot be read whole; run `addon-export rebuild`.") from error


def _figure(answer: Answer) -> Figure:
    return Figure(tuple(answer.columns), tuple(answer.rows))
