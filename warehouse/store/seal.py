"""The seal of a commit: who holds the key can tell that nobody without it has changed what the archive holds.

A commit names the SHA-256 of every live file. Whoever may write under the root can make other files, and a commit that
names them; without the key he cannot make its seal. He can still remove things, or put an older whole state back.
"""

import hashlib
import hmac
from typing import NewType

from warehouse.errors import NotSealed
from warehouse.store.commit import Commit

SealKey = NewType("SealKey", bytes)

SETTING = "EXPORT_SEAL_KEY"


def seal_key(secret: str) -> SealKey:
    """The key that belongs to a secret; it is good for nothing else."""
    return SealKey(hmac.digest(secret.encode(), b"addon-export: seal of a commit, 1", hashlib.sha256))


def seal_of(digest: str, key: SealKey) -> str:
    """The seal (hex) of a commit with this digest."""
    return hmac.new(key, digest.encode(), hashlib.sha256).hexdigest()


def is_sealed(commit: Commit, key: SealKey) -> bool:
    """Whether a commit has the right seal; the state without any commit needs none."""
    return not commit.number or hmac.compare_digest(commit.seal, seal_of(commit.digest, key))


def check_sealed(commit: Commit, key: SealKey | None) -> None:
    """Refuse a commit that was not made by a holder of the key, if there is one.

    Raises:
        NotSealed: it has no seal, or a wrong one.
    """
    if key is None or is_sealed(commit, key):
        return
    what = "has a seal that is not of this key" if commit.seal else "has no seal"
    raise NotSealed(
        f"Commit {commit.number} {what}: it was made without {SETTING} or with another one, or by somebody who may "
        "write to EXPORT_ROOT; nothing is built on it. If it is yours, run `addon-export seal`."
    )
