"""Items of Twilio's lists: how large one may be, and what is kept of one that is larger. Pure."""

LARGEST_ITEM = 16 << 10
"""Bytes; a documented item has less than 2,000. Larger ones are refused, and little more of them is handed on."""


def cut(item: bytes | memoryview) -> bytes:
    """An item, or of one that is too large just more than the most: enough to refuse it."""
    return bytes(item[: LARGEST_ITEM + 1])


def kept(raw: bytes, reason: str) -> tuple[bytes, str]:
    """What quarantine keeps of an item, and the reason: of one that is too large the beginning.

    Hundreds of them, whole, would take more memory than there is, and keep what is landed from being published.
    """
    if len(raw) <= LARGEST_ITEM:
        return raw, reason
    return raw[:LARGEST_ITEM], f"{reason} Its first {LARGEST_ITEM >> 10} KB are kept."
