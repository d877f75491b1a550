"""What is measured: each scenario names the account, the server's limits and latency, and who takes part.

A way that would take minutes where the product takes seconds is given fewer recordings: rates and costs per
request do not depend on how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.caps import Caps
from benchmarks.data import Settings

NO_CAP = Caps()


@dataclass(frozen=True, slots=True)
class Part:
    """One run in a scenario: the account, and what else distinguishes it.

    Attributes:
        data: the account.
        label: tells runs of one way apart.
        goes_on: runs on what the run before has landed.
    """

    data: Settings
    label: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question, and the runs that answer it.

    Attributes:
        name: for `--scenario`.
        question: heads the table.
        parts: the runs of the product.
        peers: recordings given to each other way; ways not named do not take part.
        caps: the server's limit over time.
        latency: seconds before each answer, of API and storage.
        ceiling: TWILIO_MAX_CONCURRENCY for the product, None for its default; never the cap itself.
        settings: further variables for the product.
    """

    name: str
    question: str
    parts: tuple[Part, ...]
    peers: Mapping[str, int] = field(default_factory=dict)
    caps: Caps = NO_CAP
    latency: float = 0.0
    ceiling: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


SCENARIOS = (
    Scenario(
        "cap100",
        "Cap 100, latency 100 ms: how much of the theoretical rate is reached?",
        parts=(Part(Settings(5000)),),
        peers={"twilio-async": 2000, "httpx": 600, "dlt": 1000, "twilio": 40},
        caps=Caps(((100, 0.0),)),
        latency=0.1,
        ceiling=200,
    ),
    Scenario(
        "cap300",
        "Cap 300, latency 100 ms: how much of the theoretical rate is reached?",
        parts=(Part(Settings(5000)),),
        peers={"twilio-async": 2000, "httpx": 300},
        caps=Caps(((300, 0.0),)),
        latency=0.1,
        ceiling=600,
    ),
    Scenario(
        "moving",
        "The cap changes from 100 to 40 and back, latency 100 ms: is it followed?",
        parts=(Part(Settings(5000)),),
        peers={"twilio-async": 3000},
        caps=Caps(((100, 0.0), (40, 5.0), (100, 10.0))),
        latency=0.1,
        ceiling=200,
    ),
    Scenario(
        "cost",
        "No latency, no cap: what does it cost?",
        parts=(Part(Settings(5000)),),
        peers={"twilio": 5000, "twilio-async": 5000, "httpx": 2000, "dlt": 5000},
    ),
    Scenario(
        "memory",
        "Does memory depend on how much there is?",
        parts=(
            Part(Settings(5000), "5,000 recordings"),
            Part(Settings(50_000), "50,000 recordings"),
            Part(Settings(5000, big=100_000_000), "5,000 and one content of 100 MB"),
        ),
    ),
    Scenario(
        "again",
        "What does an export cost when most of it is landed already?",
        parts=(
            Part(Settings(5000, hidden=50), "first"),
            Part(Settings(5000, hidden=50), "nothing new", goes_on=True),
            Part(Settings(5000), "50 new recordings", goes_on=True),
        ),
        settings={"EXPORT_SETTLE_HOURS": "0"},
    ),
)

QUICK = Scenario(
    "quick",
    "A small sample, to see that everything works; its figures mean nothing",
    parts=(Part(Settings(60, results=(1, 0, 2), payloads=(1, 2), big=600_000)),),
)
