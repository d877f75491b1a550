"""What an export did, in a sentence."""

from pipelines.report import Progress


def summary(progress: Progress) -> str:
    """One sentence: rows and bytes that are landed new, and what they cost."""
    requests = f"{progress.traffic().requests:,} requests"
    counts = [
        f"{rows:,} {what}"
        for table, what in (
            ("recordings", "recordings"),
            ("add_on_results", "add-on results"),
            ("contents", f"contents ({progress.extraction.content_bytes:,} bytes)"),
        )
        if (rows := progress.landed.get(table, 0))
    ]
    if counts:
        return f"Exported {', '.join(counts)} with {requests}."
    looked = progress.extraction.recordings + progress.discovery.settled
    changed = progress.changed.get("add_on_results", 0)
    return f"Nothing new: {looked:,} recordings looked at, {changed:,} results changed, with {requests}."
