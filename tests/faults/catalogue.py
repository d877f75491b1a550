"""All mutators."""

from tests.faults.page_mutators import PAGES, ROWS
from tests.faults.wire_mutators import WIRE

MUTATORS = (*WIRE, *PAGES, *ROWS)
BY_NAME = {mutator.name: mutator for mutator in MUTATORS}
