"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# how fast a machine is at the moment says nothing about a rule: timing belongs into a benchmark
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
