"""Text of somebody as one line that is nothing but text, wherever an alert is shown."""

import re
import unicodedata

_MEANT = {"<": "(", ">": ")", "@": "(at)"}
"""What chats and mail programs take for a mention, a link or markup, and what is shown instead."""


def plain_text(text: str) -> str:
    """One line without control, direction or invisible characters, and with no mention or link in it."""
    shown = "".join(_MEANT.get(letter, letter) if _is_visible(letter) else " " for letter in text)
    shown = re.sub(r"(?i)\b(\w+):(?=//)", r"\1 ", shown)  # https://... names no place any more
    return " ".join(shown.replace("](", "] (").split())


def _is_visible(letter: str) -> bool:
    return unicodedata.category(letter)[0] not in "CZ"
