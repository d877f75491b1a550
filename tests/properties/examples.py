"""How many examples: few in the suite, EXAMPLES of each in `make trial NAME=properties`."""

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))

store = settings(
    max_examples=EXAMPLES or 2,
    stateful_step_count=20 if EXAMPLES else 10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    print_blob=True,
)
pages = settings(store, max_examples=EXAMPLES * 4 or 25)
