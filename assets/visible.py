r"""Text as a terminal may have it: what it would obey, or hide, is shown instead.

Callers, vendors and Twilio say what they like, and a terminal takes some of that for commands: to change its title,
colours or clipboard, to move the cursor, to turn the direction of what follows. The form `\u001b` is the one of JSON,
so JSON stays JSON.
"""

import codecs
import re

LINES = "\n\t"
"""What a text of several lines may hold."""

_INVISIBLE = (
    r"\x00-\x1f\x7f-\x9f"  # controls
    r"\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # hyphens and fillers without a sign
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # widths of nothing, separators, directions, isolates
    r"\ufe00-\ufe0f\ufeff\ufff0-\ufffb\ud800-\udfff"  # variants, marks of byte order, halves of characters
    r"\u0600-\u0605\u06dd\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f"  # signs before numbers and groups
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # shorthand, music, tags
)

_HIDDEN = re.compile(f"[{_INVISIBLE}]")

_HIDDEN_BUT_LINES = re.compile(f"(?![{LINES}])[{_INVISIBLE}]")


def visible(text: str, *, lines: bool = False) -> str:
    """`text` with every control and invisible character as its escape; `lines` leaves line ends and tabs."""
    return (_HIDDEN_BUT_LINES if lines else _HIDDEN).sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escape_what_is_left(error: UnicodeError) -> tuple[str, int]:
    """For characters that a stream's encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escaped, error.object[error.start : error.end])), error.end


ESCAPING = "addon_export.escaping"
"""Handler of errors for a stream whose encoding need not have every character, such as ASCII."""

codecs.register_error(ESCAPING, _escape_what_is_left)
