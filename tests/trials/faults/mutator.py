"""What a mutator is: a name, a line that says what it does, where it fits, and what it makes of a correct reply."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.trials.faults.replies import ALL, Honest, Level, Wire

Make = Callable[[Honest, Random], Wire | None]
"""Returns None where it does not fit the reply at hand."""


@dataclass(frozen=True, slots=True)
class Mutator:
    """Makes a bad reply of a correct one.

    Attributes:
        name: what it is called in tables.
        does: what it does, in a line.
        make: the bad reply.
        levels: where it fits.
        tolerable: what it says can still be read for certain, so that it may be taken as it is.
        plausible: levels at which nobody can tell its reply from a correct one that says something else.
        stray: given once only, as a second one in a row ends the run.
    """

    name: str
    does: str
    make: Make = field(repr=False)
    levels: frozenset[Level] = ALL
    tolerable: bool = False
    plausible: frozenset[Level] = frozenset()
    stray: bool = False
