"""What this process connects to, by Python's own audit events; and names that resolve to what a test wants."""

import contextlib
import functools
import ipaddress
import sys
from collections.abc import Iterator, Mapping, Sequence

_taps: list[list[str]] = []


@functools.cache
def _install() -> None:
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or not _taps:
        return
    address = arguments[1]
    if not isinstance(address, tuple):
        return
    host = str(address[0])
    for tap in _taps:
        tap.append(host)
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise ConnectionRefusedError(111, "this test does not leave the machine")


@contextlib.contextmanager
def connections() -> Iterator[list[str]]:
    """The addresses of all connections tried meanwhile; those that would leave the machine are not made."""
    _install()
    tap: list[str] = []
    _taps.append(tap)
    try:
        yield tap
    finally:
        _taps.remove(tap)


class Names:
    """Answers each question for a name with the next list of addresses, the last for ever."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(lists) for name, lists in answers.items()}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Resolve as told; any other name does not exist."""
        lists = self._answers.get(host, self._answers.get("*"))
        if lists is None:
            raise OSError(-2, "Name or service not known")
        return lists.pop(0) if len(lists) > 1 else lists[0]
