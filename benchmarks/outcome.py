"""What one run of one way came to, and the figures that are drawn from it. Pure.

The theoretical rate is the cap divided by the latency: so many requests a second get through when every place
under the cap is always taken. The share reached is `served x latency / integral of the cap`, which holds for a cap
that moves, too. Requests are those to the API; fetching a content from storage is work that belongs to them.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks.caps import Caps
from benchmarks.check import Finding
from benchmarks.running import Measured


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: what was measured, what the server saw, what had landed."""

    scenario: str
    way: str
    run: str
    recordings: int
    caps: Caps
    latency: float
    measured: Measured
    stats: dict[str, Any]
    finding: Finding

    @property
    def requests(self) -> int:
        """Requests that the API served."""
        return int(self.stats["served"])

    @property
    def startup(self) -> float:
        """Seconds from the start of the process to its first request."""
        return float(self.stats["first_at"]) - self.measured.started_at

    @property
    def extraction(self) -> float:
        """Seconds from the first request to the last reply of the API."""
        return float(self.stats["last_at"]) - float(self.stats["first_at"])

    @property
    def command(self) -> float:
        """Seconds of the whole command less its start-up."""
        return self.measured.ended_at - float(self.stats["first_at"])

    @property
    def cpu(self) -> float:
        """CPU seconds less those of the start-up."""
        return self.measured.cpu - self.measured.cpu_until(float(self.stats["first_at"]))

    @property
    def share(self) -> float | None:
        """Share of the theoretical rate, first request to last reply; None without a cap."""
        return self._share(self.extraction)

    @property
    def command_share(self) -> float | None:
        """The same over the whole command less its start-up."""
        return self._share(self.command)

    @property
    def refused(self) -> float:
        """Share of requests answered 429."""
        return float(self.stats["refused"]) / max(1, int(self.stats["requests"]))

    def _share(self, seconds: float) -> float | None:
        if not (self.caps.limited and self.latency):
            return None
        return self.requests * self.latency / self.caps.integral(seconds)

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "scenario": self.scenario,
            "way": self.way,
            "run": self.run,
            "recordings": self.recordings,
            "share": self.share,
            "command_share": self.command_share,
            "requests_per_second": self.requests / self.extraction,
            "startup_seconds": self.startup,
            "extraction_seconds": self.extraction,
            "command_seconds": self.command,
            "cpu_seconds": self.measured.cpu,
            "cpu_seconds_after_startup": self.cpu,
            "cpu_ms_per_request": 1000 * self.cpu / self.requests,
            "cpu_ms_per_result": 1000 * self.cpu / max(1, self.finding.results),
            "peak_bytes": self.measured.peak,
            "tree_bytes": self.measured.tree,
            "refused_share": self.refused,
            "server": self.stats,
            "rows_expected": self.finding.expected,
            "rows_landed": self.finding.landed,
            "rows_missing": self.finding.missing,
            "rows_extra": self.finding.extra,
            "contents_expected": self.finding.contents,
            "contents_equal": self.finding.equal,
        }
