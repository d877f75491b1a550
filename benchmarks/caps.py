"""The limit on concurrent requests over time, as the server keeps it and the tables reckon with it. Pure."""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Caps:
    """Which cap holds from how many seconds after the first request; cap 0 is none. The first holds from 0."""

    steps: tuple[tuple[int, float], ...] = ((0, 0.0),)

    @staticmethod
    def parse(text: str) -> "Caps":
        """Read `100:0,40:5,100:10`: cap 100 at first, 40 after 5 seconds, 100 again after 10.

        Raises:
            ValueError: it is written otherwise, does not begin at 0 or does not go forward in time.
        """
        steps = tuple((int(cap), float(since or 0)) for cap, _, since in (s.partition(":") for s in text.split(",")))
        if steps[0][1] != 0 or any(a >= b for (_, a), (_, b) in pairwise(steps)):
            raise ValueError(f"{text!r} does not begin at 0 seconds and go forward")
        return Caps(steps)

    def __str__(self) -> str:
        return ",".join(f"{cap}:{since:g}" for cap, since in self.steps)

    @property
    def limited(self) -> bool:
        """Whether there is always a cap."""
        return all(cap for cap, _ in self.steps)

    def integral(self, seconds: float) -> float:
        """Request-seconds that fit under the cap in the first `seconds` after the first request."""
        ends = [since for _, since in self.steps[1:]] + [seconds]
        return sum(
            cap * max(0.0, min(end, seconds) - since) for (cap, since), end in zip(self.steps, ends, strict=True)
        )
