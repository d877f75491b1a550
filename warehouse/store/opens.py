"""Opens that follow no link: what is written goes where it was meant to go, or nowhere.

A root may be reached through links, which its owner chose. Below it every folder is opened relative to the one above,
without following, and is looked at before anything is made in it: a link there would lead what is written to a file
of somebody else, and a pipe or a device would be waited for.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from warehouse.errors import Untrusted
from warehouse.store.flocks import flock
from warehouse.store.trust import NOBODY_ELSE, Writers, objection

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Never through a link, and never waiting for the other end of a pipe."""


@contextlib.contextmanager
def folder(
    root: Path, below: str = "", *, writers: Writers = NOBODY_ELSE, make: int | None = None
) -> Iterator[tuple[int, Path]]:
    """A handle on a folder under `root`, and its path; with `make` (permission bits) it is made where it is missing.

    A folder that is made is synced into the one above.

    Raises:
        Untrusted: something on the way below the root is a link or no folder, or others may change it.
        OSError: it cannot be opened or made.
    """
    handle, path = os.open(root, _FOLDER), root
    try:
        for name in PurePosixPath(below).parts:
            path /= name
            inner = _enter(handle, name, path, writers, make)
            os.close(handle)
            handle = inner
        yield handle, path
    finally:
        os.close(handle)


def _enter(above: int, name: str, path: Path, writers: Writers, make: int | None) -> int:
    try:
        handle = _open_folder(above, name, path)
    except FileNotFoundError:
        if make is None:
            raise
        try:
            os.mkdir(name, make, dir_fd=above)
        except FileExistsError:
            pass  # another process was quicker
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        sync(above)
        handle = _open_folder(above, name, path)
        if os.fstat(handle).st_uid == os.geteuid():
            set_mode(handle, make)  # mkdir's mode is cut by the umask
    return _trusted(handle, path, writers)


def _trusted(handle: int, path: Path, writers: Writers) -> int:
    """`handle`, which is closed if others made or may change what it is on; raises Untrusted then."""
    try:
        if (reason := objection(os.fstat(handle), writers)) is not None:
            raise Untrusted(f"{path} {reason}.")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open_folder(above: int, name: str, path: Path) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Untrusted(_not("a folder", path, os.lstat(name, dir_fd=above))) from error
        raise OSError(error.errno, error.strerror, str(path)) from error


def open_lock(root: Path, name: str, mode: int, *, writers: Writers = NOBODY_ELSE) -> int:
    """A handle on a file under `root` to lock, made with `mode` if it is not there. It is never written to.

    Raises:
        Untrusted: it is a link or no file, or others may change it.
        OSError: it cannot be opened or made.
    """
    with folder(root) as (above, _):
        try:
            handle = _open(above, name, root / name, os.O_RDWR, 0)
        except FileNotFoundError:
            handle = _open(above, name, root / name, os.O_RDWR | os.O_CREAT, mode)
            set_mode(handle, mode)  # open's mode is cut by the umask
    return _trusted(handle, root / name, writers)


def open_existing(root: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """A handle on a file under `root` (a path relative to it), to read unless `flags` say otherwise.

    Raises:
        Untrusted: it, or a folder on the way, is a link or something else.
        OSError: it is not there, or cannot be opened.
    """
    at, path = PurePosixPath(name), root
    handle = os.open(root, _FOLDER)
    try:
        for part in at.parts[:-1]:
            path /= part
            inner = _open_folder(handle, part, path)
            os.close(handle)
            handle = inner
        return _open(handle, at.name, root / name, flags, 0)
    finally:
        os.close(handle)


def read_bytes(root: Path, name: str) -> bytes:
    """What a file under `root` (a path relative to it) holds; raises as `open_existing`."""
    with os.fdopen(open_existing(root, name), "rb") as stream:
        return stream.read()


def _open(above: int, name: str, path: Path, flags: int, mode: int) -> int:
    """Open a plain file. It is looked at before, because opening a device does something, and afterwards."""
    with contextlib.suppress(FileNotFoundError):
        state = os.lstat(name, dir_fd=above)
        if not stat.S_ISREG(state.st_mode):
            raise Untrusted(_not("a file", path, state))
    try:
        handle = os.open(name, flags | _PLAIN, mode, dir_fd=above)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode):
        os.close(handle)
        raise Untrusted(_not("a file", path, state))
    return handle


def set_mode(handle: int, mode: int) -> None:
    """Give an open file its permission bits, where the file system knows any."""
    try:
        os.fchmod(handle, mode)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise


def make_private(above: int, name: str) -> None:
    """Let nobody but its owner read a file in an open folder, if it is a plain one."""
    with contextlib.suppress(Untrusted):
        handle = _open(above, name, Path(name), os.O_RDONLY, 0)
        try:
            set_mode(handle, 0o600)
        finally:
            os.close(handle)


def sync(handle: int) -> None:
    """Make the names in an open folder survive a power cut, where the file system can be asked to."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise


def rename_new(above: int, old: str, new: str) -> None:
    """Rename within an open folder to a name that nothing has, where the file system knows no hard links.

    The system does it in one step where it can. Else whoever does it has the folder locked, which goes with the
    process, so that a kill leaves nothing behind.

    Raises:
        FileExistsError: something has the name.
        OSError: it can be done in neither way.
    """
    try:
        _renameat2(above, old, new)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        locked = os.open(".", _FOLDER, dir_fd=above)
        held = None
        try:
            held = flock(locked, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                os.lstat(new, dir_fd=above)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
            os.rename(old, new, src_dir_fd=above, dst_dir_fd=above)
        finally:
            os.close(locked)
            if held not in (None, locked):
                os.close(held)


def _renameat2(above: int, old: str, new: str) -> None:
    """Linux's rename that fails where the new name is taken; no other system, and no library, has it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(above, os.fsencode(old), above, os.fsencode(new), _NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), new)


_NOREPLACE = 1

UNKNOWN = frozenset({errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})
"""How a file system says that it has no such thing. `warehouse.store.abilities` tells the operator of it."""


def _not(wanted: str, path: Path, state: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(state.st_mode), "a file" if wanted == "a folder" else "a device")
    return f"{path} is {kind} where {wanted} is needed, and nothing is written through it; remove it and run again."
