"""Durable files: whole or not there, private, and on the disk before anyone relies on them.

No library does this by itself (measured: pyarrow, DuckDB COPY, deltalake, dlt): a file gets a dot-name, its
bytes are written and synced, it is renamed, and its folder is synced. A kill at any point leaves at most a
dot-named leftover that no reader looks at.
"""

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from warehouse.errors import FixProcess, FixWarehouse, Untrusted
from warehouse.store import opens
from warehouse.store.limits import limit
from warehouse.store.trust import NOBODY_ELSE, Writers


@dataclass(frozen=True, slots=True)
class Access:
    """Permission bits for sealed files, folders and the published database, and who else may write beside them."""

    file: int
    folder: int
    published: int
    writers: Writers = NOBODY_ELSE


ACCESS = {
    "none": Access(0o600, 0o700, 0o400),
    "group": Access(0o640, 0o750, 0o440),
    "all": Access(0o644, 0o755, 0o444),
}
"""By the value of EXPORT_SHARED_READ."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on `path` into FixWarehouse, or FixProcess: one sentence that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise cannot("write to", path, error) from error


def cannot(do: str, path: Path, error: OSError) -> FixWarehouse | FixProcess:
    """What an OSError while doing something to `path` means: one sentence that names the path and the cause."""
    if (reached := limit(error, path)) is not None:
        return reached
    hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check EXPORT_ROOT"
    reason = error.strerror or type(error).__name__
    return FixWarehouse(f"Cannot {do} {error.filename2 or error.filename or path}: {reason}; {hint} and run again.")


def refuse_links(root: Path, path: str) -> None:
    """Refuse a path under `root` on which something is a link: what it leads to may be anybody's.

    Raises:
        Untrusted: there is a link; the sentence names it.
    """
    at = root
    for name in path.split("/"):
        at /= name
        if at.is_symlink():
            raise Untrusted(
                f"{at} is a link, and none is followed under EXPORT_ROOT: put what it leads to there, or remove it."
            )


def make_root(root: Path, access: Access) -> None:
    """Make `root` and its missing parents with the right bits; each new name is synced into its parent."""
    missing = []
    at = root
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for path in reversed(missing):
        with opens.folder(path.parent, path.name, writers=access.writers, make=access.folder):
            pass


def sync_folder(path: Path) -> None:
    """Make names created in or renamed into `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opens.sync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A new file under a dot-name in an open folder, until it gets its own name there."""

    folder: int
    name: str

    def become(self, name: str) -> None:
        """Take a name, from the file that has it if there is one."""
        os.rename(self.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)

    def become_new(self, name: str) -> None:
        """Take a name that nothing has; raises FileExistsError, whoever takes it first."""
        try:
            os.link(self.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in opens.UNKNOWN:
                raise
            opens.rename_new(self.folder, self.name, name)


@contextlib.contextmanager
def unnamed(root: Path, below: str, access: Access) -> Iterator[tuple[BufferedRandom, Unnamed]]:
    """A new dot-named file in the folder `below` the root, which is made if it is missing; the caller syncs it.

    Its name is synced when it has become what it is to be; it is removed if it still has its dot-name then.

    Raises:
        Untrusted, OSError: as `opens.folder`.
    """
    with opens.folder(root, below, writers=access.writers, make=access.folder) as (handle, _):
        file = Unnamed(handle, f".{uuid.uuid4().hex}.tmp")
        opened = os.open(file.name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, access.file, dir_fd=handle)
        try:
            with os.fdopen(opened, "w+b") as stream:
                opens.set_mode(opened, access.file)
                yield stream, file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name, dir_fd=handle)


def put(root: Path, below: str, name: str, body: bytes, access: Access, *, replace: bool = True) -> None:
    """Put a file into the folder `below` the root, whole, and durable on return.

    Raises:
        FileExistsError: something has the name, whoever took it first, and it may not `replace` that.
        Untrusted, OSError: as `unnamed`.
    """
    with unnamed(root, below, access) as (stream, file):
        stream.write(body)
        stream.flush()
        os.fsync(stream.fileno())
        if replace:
            file.become(name)
        else:
            file.become_new(name)
    sync_folder(root / below)


def sync_and_hash(stream: BufferedRandom) -> str:
    """Flush and sync `stream`, then return the SHA-256 (hex) of what the file now holds, read back from it."""
    stream.flush()
    os.fsync(stream.fileno())
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; what is no plain file, such as a pipe, is not waited for.

    Raises:
        FileNotFoundError: there is no plain file.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise FileNotFoundError(errno.ENOENT, "it is no file", str(path))
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_and_hash(source: Path, target: Path) -> str:
    """Copy a file's bytes and return the SHA-256 (hex) of what was copied: one reading for both."""
    digest = hashlib.sha256()
    with source.open("rb") as given, target.open("wb") as copy:
        while block := given.read(1 << 20):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()
