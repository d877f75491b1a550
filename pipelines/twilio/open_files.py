"""How many files and connections this process may have open, and how they are shared out.

The limit is the process's own (`ulimit -n`): 256 on macOS, 1,024 on most Linux systems, less in some containers.
"""

import contextlib
import resource
from pathlib import Path

from pipelines.twilio.values import Ceilings

MOST = 65_536
"""Open files asked for at most: some systems' hard limit is in the millions, and is not meant."""

_FOR_THE_ARCHIVE = 64
"""Files that landing, publishing and Dagster's history may need at once; where there is less, half of what is left."""


def raise_open_files() -> int:
    """Raise the soft limit on open files to the hard one, as far as that can be done; return the limit there is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        for limit in (wanted, 10_240):  # macOS takes no more than its OPEN_MAX, whatever it says the hard limit is
            if limit > soft:
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                    return limit
    return MOST if soft == resource.RLIM_INFINITY else soft


def open_now() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def ceilings(*, limit: int, used: int, wanted: int) -> Ceilings:
    """The connections that all accounts may have together under a limit on open files, at least one of each kind.

    A quarter of what is left is not given away: a connection that is being made may try two addresses at once, and
    looking a name up takes a file too.

    Args:
        limit: files that this process may have open.
        used: files that it has open.
        wanted: connections to the API, if there is room for as many.
    """
    left = max(0, limit - used)
    left -= min(_FOR_THE_ARCHIVE, left // 2)
    most = Ceilings()
    return Ceilings(api=max(1, min(wanted, left // 2)), storage=max(1, min(most.storage, left // 4)))
