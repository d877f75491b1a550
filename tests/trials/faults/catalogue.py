"""All mutators."""

from tests.trials.faults.page_mutators import PAGES, ROWS
from tests.trials.faults.wire_mutators import WIRE

MUTATORS = (*WIRE, *PAGES, *ROWS)
BY_NAME = {mutator.name: mutator for mutator in MUTATORS}
