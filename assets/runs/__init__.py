"""How one run lives in Dagster."""
