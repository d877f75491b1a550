"""What a user would write from each tool's documentation to get the same rows; benchmark only.

Each module is a program of its own that the environment tells where the API is (`TWILIO_*`), where to land
(`BENCH_DATABASE`) and how many requests may be in flight (`BENCH_CAP`): an advantage, the product has to find that out.
"""
