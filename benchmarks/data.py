"""The made-up account that is exported: a pure function of a few numbers.

Recording i, its add-on results, their payloads and every byte of their contents follow from `Settings` alone,
so the server makes them on the fly, holding nothing, and the checker knows what must have landed. Recordings
are spread evenly over the last 28 days, newest first, so that any range of days is a range of numbers.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

ACCOUNT = "AC" + "b" * 32
DAYS = 28
CHUNK = 256 << 10
"""Bytes of the pieces a big content is made in."""

_WORDS = 1 << 20
"""Bytes of the text that contents are cut from."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much there is.

    Attributes:
        recordings: how many.
        results: add-on results of a recording, a pattern repeated over the recordings.
        payloads: payloads of an add-on result, likewise.
        size: bytes of a content.
        big: bytes of the one big content, 0 for none; it is the first payload of the middle recording.
        hidden: so many of the newest recordings are not there yet.
        now: the newest recording is about as old as this instant (seconds since 1970).
    """

    recordings: int
    results: tuple[int, ...] = (1,)
    payloads: tuple[int, ...] = (1,)
    size: int = 2000
    big: int = 0
    hidden: int = 0
    now: int = 0

    def to_json(self) -> str:
        """The settings as one argument of a command line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Settings":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return Settings(**{**values, "results": tuple(values["results"]), "payloads": tuple(values["payloads"])})

    def created(self, number: int) -> int:
        """When a recording was created (seconds since 1970)."""
        return self.now - (number + 1) * DAYS * 86400 // max(1, self.recordings)

    def created_between(self, first: float, end: float) -> range:
        """Numbers of the recordings created from `first` up to but not at `end`, newest first."""
        step = DAYS * 86400 / max(1, self.recordings)
        low = max(self.hidden, int((self.now - end) / step) - 2)
        high = min(self.recordings, max(0, int((self.now - first) / step) + 2)) if first > 0 else self.recordings
        while low < high and self.created(low) >= end:
            low += 1
        while low < high and self.created(high - 1) < first:
            high -= 1
        return range(low, max(low, high))

    def results_of(self, number: int) -> int:
        """How many add-on results a recording has."""
        return self.results[number % len(self.results)]

    def payloads_of(self, number: int, result: int) -> int:
        """How many payloads an add-on result has."""
        return self.payloads[(number + result) % len(self.payloads)]

    def is_big(self, number: int, result: int, payload: int) -> bool:
        """Whether this is the one big content."""
        return bool(self.big) and (number, result, payload) == (self.recordings // 2, 0, 0)

    def all_recordings(self) -> range:
        """Numbers of the recordings that are there."""
        return range(self.hidden, self.recordings)

    def all_results(self) -> Iterator[tuple[int, int]]:
        """Number of the recording and of the result, of every add-on result."""
        return ((n, k) for n in self.all_recordings() for k in range(self.results_of(n)))

    def all_payloads(self) -> Iterator[tuple[int, int, int]]:
        """Numbers of the recording, the result and the payload, of every payload."""
        return ((n, k, p) for n, k in self.all_results() for p in range(self.payloads_of(n, k)))

    def content_length(self, number: int, result: int, payload: int) -> int:
        """Bytes of a content."""
        return max(len(_frame("")), self.big if self.is_big(number, result, payload) else self.size)

    def content(self, number: int, result: int, payload: int) -> Iterator[bytes]:
        """A content in pieces of at most about `CHUNK` bytes: a JSON transcript, another for each payload."""
        sid = payload_sid(number, result, payload)
        frame = _frame(sid)
        left = self.content_length(number, result, payload) - len(frame)
        head, tail = frame[:-_TAIL], frame[-_TAIL:]
        words = _words()
        start = (number * 7919 + result * 104729 + payload * 1299709) % _WORDS
        if left <= CHUNK:
            yield b"%b%b%b" % (head, _cut(words, start, left), tail)
            return
        yield head
        while left:
            size = min(left, CHUNK)
            yield _cut(words, start, size)
            start = (start + size + 1) % _WORDS
            left -= size
        yield tail


def recording_sid(number: int) -> str:
    """SID of a recording."""
    return f"RE{number:032x}"


def result_sid(number: int, result: int) -> str:
    """SID of an add-on result."""
    return f"XR{number:024x}{result:08x}"


def payload_sid(number: int, result: int, payload: int) -> str:
    """SID of a payload."""
    return f"XH{number:016x}{result:08x}{payload:08x}"


def numbers_of(sid: str) -> tuple[int, int, int]:
    """Numbers of the recording, the result and the payload that a payload's SID is made of."""
    return int(sid[2:18], 16), int(sid[18:26], 16), int(sid[26:], 16)


_TAIL = len('","confidence":0.93}],"final":true}],"result_index":0}]}')


def _frame(sid: str) -> bytes:
    """The JSON around a transcript, in the shape of a known vendor; the text goes before its last `_TAIL` bytes."""
    return (
        f'{{"id":"{sid:34}","results":[{{"results":[{{"alternatives":[{{"transcript":"'
        f'","confidence":0.93}}],"final":true}}],"result_index":0}}]}}'
    ).encode()


def _cut(words: bytes, start: int, size: int) -> bytes:
    end = start + size
    return words[start:end] if end <= _WORDS else words[start:] + words[: end - _WORDS]


@cache
def _words() -> bytes:
    """Text that looks and compresses like speech."""
    chance = random.Random(20429)  # the same text in every process
    letters = "eeeeetttaaoooiinnsshhrrdlcumwfgypbvk"
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(3000)]
    weights = [1 / (rank + 5) for rank in range(len(vocabulary))]
    text = " ".join(chance.choices(vocabulary, weights, k=_WORDS // 3)).encode()
    return text[:_WORDS].ljust(_WORDS)
