"""Durable files: whole or not there, private, and on the disk before anyone relies on them.

No library does this by itself (measured: pyarrow, DuckDB COPY, deltalake, dlt): a file gets a dot-name, its
bytes are written and synced, it is renamed, and its folder is synced. A kill at any point leaves at most a
dot-named leftover that no reader looks at.
"""

import contextlib
import errno
import hashlib
import os
import resource
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from warehouse.errors import FixProcess, FixWarehouse


@dataclass(frozen=True, slots=True)
class Access:
    """Permission bits for sealed files, folders and the published database."""

    file: int
    folder: int
    published: int


ACCESS = {
    "none": Access(0o600, 0o700, 0o400),
    "group": Access(0o640, 0o750, 0o440),
    "all": Access(0o644, 0o755, 0o444),
}
"""By the value of EXPORT_SHARED_READ."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on `path` into FixWarehouse: one sentence that names the path and the cause."""
    try:
        yield
    except OSError as error:
        raise cannot("write to", path, error) from error


def cannot(do: str, path: Path, error: OSError) -> FixWarehouse:
    """What an OSError while doing something to `path` means: one sentence that names the path and the cause."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return too_many_open(error)
    hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check EXPORT_ROOT"
    reason = error.strerror or type(error).__name__
    return FixWarehouse(f"Cannot {do} {error.filename2 or error.filename or path}: {reason}; {hint} and run again.")


def too_many_open(error: Exception) -> FixProcess:
    """What running out of open files means: a limit of the process or the machine, nothing of the folder."""
    whose = "this machine has" if isinstance(error, OSError) and error.errno == errno.ENFILE else "this process has"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FixProcess(f"Too many open files: {whose} no more of them; raise its limit (`ulimit -n` is {soft}).")


def make_folder(path: Path, access: Access) -> None:
    """Make `path` and its missing parents with the right bits; each new name is synced into its parent."""
    missing = []
    at = path
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=access.folder)
            folder.chmod(access.folder)  # mkdir's mode is cut by the umask
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make names created in or renamed into `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def unnamed(folder: Path, access: Access) -> Iterator[tuple[BufferedRandom, Path]]:
    """A new dot-named file in `folder`; the caller syncs it, then renames or links it.

    The file is removed if the block fails, and if it still has its dot-name afterwards.
    """
    path = folder / f".{uuid.uuid4().hex}.tmp"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, access.file)
    try:
        with os.fdopen(handle, "w+b") as stream:
            os.fchmod(stream.fileno(), access.file)
            yield stream, path
    finally:
        path.unlink(missing_ok=True)


def sync_and_hash(stream: BufferedRandom) -> str:
    """Flush and sync `stream`, then return the SHA-256 (hex) of what the file now holds, read back from it."""
    stream.flush()
    os.fsync(stream.fileno())
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_and_hash(source: Path, target: Path) -> str:
    """Copy a file's bytes and return the SHA-256 (hex) of what was copied: one reading for both."""
    digest = hashlib.sha256()
    with source.open("rb") as given, target.open("wb") as copy:
        while block := given.read(1 << 20):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()
