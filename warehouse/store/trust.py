"""Whose files are trusted: what we read settings from or write to was made, and can be changed, by nobody else.

A folder that another user made runs his `dagster.yaml`, sends credentials where his `.env` says, and shows him what is
written into it. So the owner is this user or root, and others may not write, unless the operator names who else may.
"""

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import Untrusted

SETTING = "EXPORT_TRUSTED_WRITERS"


@dataclass(frozen=True, slots=True)
class Writers:
    """Who, besides this user and root, may own and change what this program relies on."""

    users: frozenset[int] = frozenset()
    group: bool = False
    """Also whoever is in the group of a file."""
    everybody: bool = False
    """For file systems that know neither owners nor permissions."""


NOBODY_ELSE = Writers()


def objection(state: os.stat_result, writers: Writers) -> str | None:
    """Why a file or folder of this state cannot be trusted, and what to do about it; None if it can."""
    if writers.everybody:
        return None
    if not (state.st_uid in {os.geteuid(), 0} | writers.users or (writers.group and state.st_gid in _own_groups())):
        name = user_name(state.st_uid)
        return f"belongs to another user ({name}); use one of your own, or set {SETTING}={name} if you trust that user"
    if state.st_mode & stat.S_IWOTH:
        known = f"or set {SETTING}=all where the file system knows no permissions"
        return f"may be written to by everybody on this machine; run `chmod o-w` on it, {known}"
    if state.st_mode & stat.S_IWGRP and not (writers.group or _is_private(state.st_gid)):
        group = _group_name(state.st_gid)
        return f"may be written to by the group {group}; run `chmod g-w` on it, or set {SETTING}=group if the group may"
    return None


def check_trusted(what: str, path: Path, writers: Writers) -> None:
    """Refuse a file or folder that somebody else made or may change; one that is not there is no reason.

    A link on the way counts by its own owner: whoever made it says where it leads.

    Raises:
        Untrusted: it is not to be trusted; the sentence names `what`, the path, the reason and the cure.
        OSError: it cannot be looked at.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow the links that are looked at here
    for part in (*reversed(path.parents), path):
        try:
            state = part.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(state.st_mode) and (whose := _foreign(state, writers)):
            raise Untrusted(
                f"{what} {path} leads through {part}, a link of another user ({whose}); use a path without it, "
                f"or set {SETTING}={whose} if you trust that user."
            )
    try:
        state = path.stat()
    except FileNotFoundError:
        return
    if (reason := objection(state, writers)) is not None:
        raise Untrusted(f"{what} {path} {reason}.")


def check_above(what: str, path: Path, writers: Writers) -> None:
    """Refuse a place that somebody else could exchange: who may write to a folder may rename what is in it.

    Where a folder is sticky, as /tmp is, only its owner may.

    Raises:
        Untrusted: the sentence names `what`, the path, the folder above it, the reason and the cure.
        OSError: a folder cannot be looked at.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  # a link on the way can be replaced as well as what it leads to
    for folder in dict.fromkeys((*path.parents, *path.resolve().parents)):
        try:
            state = folder.stat()
        except FileNotFoundError:
            continue
        if state.st_mode & stat.S_ISVTX and not _foreign(state, writers):
            continue
        if (reason := objection(state, writers)) is not None:
            raise Untrusted(f"{what} {path} is in {folder}, which {reason}.")


def is_open_to_others(state: os.stat_result) -> bool:
    """Whether others than its owner and root may read a file."""
    return bool(state.st_mode & stat.S_IROTH or (state.st_mode & stat.S_IRGRP and not _is_private(state.st_gid)))


def user_name(uid: int) -> str:
    """The name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _foreign(state: os.stat_result, writers: Writers) -> str | None:
    """The name of the owner, whatever the mode says, if it is nobody who is trusted."""
    trusted = writers.everybody or state.st_uid in {os.geteuid(), 0} | writers.users
    return None if trusted or (writers.group and state.st_gid in _own_groups()) else user_name(state.st_uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _own_groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _is_private(gid: int) -> bool:
    """Whether a group has nobody in it but this user and root.

    Systems with a group for each user make files writable by it, and containers of a random user are in the group 0.
    """
    if gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
