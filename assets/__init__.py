"""The Dagster assets and the command line: thin shells over `pipelines`."""
