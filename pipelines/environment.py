"""Settings as text: the process's environment over a `.env` file, cleaned of what got into them on the way.

One reader for all of them. A `.env` that somebody else made would send the credentials to a host of his.
"""

import codecs
import contextlib
import io
import os
import pwd
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from pipelines.errors import FixConfiguration, Untrusted
from warehouse.store.trust import SETTING, Writers, check_trusted, is_open_to_others, objection

FILE = ".env"

_OURS = re.compile(r"(TWILIO|EXPORT)_[A-Z0-9_a-f]+|DAGSTER_HOME")

_AROUND = "\\s\"'`\u2018-\u201f\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\\x00-\\x1f\\x7f"
"""What shells, editors and web pages add around what is copied from them: blanks, quotes, marks nobody sees."""

_EDGES = re.compile(f"^[{_AROUND}]+|[{_AROUND}]+$")

_ODD = {
    "a blank or a line break": re.compile(r"\s"),
    "a quotation mark": re.compile("[\"'`\u2018-\u201f]"),
    "a character that is not ASCII, or cannot be seen": re.compile(r"[^!-~]"),
    "a variable that was not replaced": re.compile(r"\$[{(]?[A-Za-z_]|\{\{"),
}


def environment(folder: Path | None = None) -> Mapping[str, str]:
    """The process's environment over the `.env` file of `folder` (default: the current one).

    Raises:
        Untrusted: somebody else made the file, or may change it.
        FixConfiguration: the file cannot be read.
    """
    # only what this process was given may say whom to trust: the file would vouch for itself
    values = _read((folder or Path.cwd()) / FILE, trusted_writers(os.environ))
    return {**values, **{name: _unquoted(name, value) for name, value in os.environ.items()}}


def trusted_writers(env: Mapping[str, str]) -> Writers:
    """Who else may own and change the files that this program relies on.

    Raises:
        FixConfiguration: a user that is named is not known here.
    """
    return writers(env.get(SETTING, ""), SETTING)


def writers(text: str, name: str) -> Writers:
    """Users of this machine, `group` or `all`, with commas between them.

    Raises:
        FixConfiguration: a user that is named is not known here.
    """
    users, words = set(), {part.strip() for part in text.split(",")} - {""}
    for user in words - {"group", "all"}:
        try:
            users.add(int(user) if user.isascii() and user.isdigit() else pwd.getpwnam(user).pw_uid)
        except KeyError:
            raise FixConfiguration(
                f"{name} names {user!r}; it must be users of this machine with commas between them, group, or all."
            ) from None
    return Writers(frozenset(users), group="group" in words, everybody="all" in words)


def open_env_file(folder: Path | None = None) -> Path | None:
    """The `.env` file, if others than its owner may read the secrets in it."""
    path = (folder or Path.cwd()) / FILE
    with contextlib.suppress(OSError):
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid() and is_open_to_others(state):
            return path
    return None


def secret(text: str, name: str) -> str:
    """A secret or a SID without what can never belong to it: blanks, quotes, marks nobody sees.

    Raises:
        FixConfiguration: what is left cannot be one; the sentence says what is odd, never the value.
    """
    text = _EDGES.sub("", text)
    if odd := next((kind for kind, found in _ODD.items() if found.search(text)), None):
        raise FixConfiguration(f"{name} holds {odd}, which none of Twilio's credentials does; copy it again.")
    return text


def path_of(text: str, name: str) -> Path:
    """A folder that a setting names, with `~` for a home.

    Raises:
        FixConfiguration: the user after `~` has none.
    """
    path = os.path.expanduser(text)  # noqa: PTH111  # Path.expanduser raises RuntimeError
    if path.startswith("~"):
        raise FixConfiguration(f"{name} is {text!r}, and there is no such home; write the whole path.")
    return Path(path)


def _read(path: Path, writers: Writers) -> dict[str, str]:
    """The settings in a file; none where there is no file."""
    try:
        if not path.is_file():
            return {}
        check_trusted("The file of settings", path, writers)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if (reason := objection(os.fstat(stream.fileno()), writers)) is not None:
                raise Untrusted(f"The file of settings {path} {reason}.")
            data = stream.read()
    except OSError as error:
        raise FixConfiguration(f"The settings in {path} cannot be read: {error.strerror}.") from error
    values = dotenv_values(stream=io.StringIO(_decoded(data)))
    return {name: value for name, value in values.items() if value is not None}


def _decoded(data: bytes) -> str:
    """Text as editors save it: UTF-8, UTF-32, UTF-16 with its mark or without, else as Windows did in the West."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # the one begins as UTF-16 does
        return data.decode("utf-32", errors="replace")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\x00" or data[:1] == b"\x00":
        return data.decode("utf-16-le" if data[1:2] == b"\x00" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _unquoted(name: str, value: str) -> str:
    """A setting of ours without the quotes around it that `docker --env-file` keeps."""
    text = value.strip()
    quoted = _OURS.fullmatch(name) and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else value
