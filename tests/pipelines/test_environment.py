"""Settings as text: from a `.env` that is ours, in whatever encoding, without what got around them on the way."""

import os
from pathlib import Path

import pytest

from pipelines.environment import environment, open_env_file, path_of, secret, trusted_writers
from pipelines.errors import FixConfiguration, Untrusted
from warehouse.store.trust import Writers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_file_of_settings_is_read_in_the_encodings_that_editors_use(tmp_path: Path, encoding: str) -> None:
    """Also with letters beyond ASCII, which those encodings write differently."""
    (tmp_path / ".env").write_bytes("EXPORT_ROOT=/srv/größe\nEXPORT_SETTLE_HOURS=7\n".encode(encoding))
    env = environment(tmp_path)
    assert (env["EXPORT_ROOT"], env["EXPORT_SETTLE_HOURS"]) == ("/srv/größe", "7")


@as_root
def test_a_file_of_settings_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would send the credentials to a host of his. It cannot say itself that he is trusted; the environment can."""
    file = tmp_path / ".env"
    file.write_text("EXPORT_TRUSTED_WRITERS=all\nTWILIO_BASE_URL=https://mallory.example\n")
    os.chown(file, 54_321, 54_321)
    with pytest.raises(Untrusted, match=f"{file} belongs to another user"):
        environment(tmp_path)
    monkeypatch.setenv("EXPORT_TRUSTED_WRITERS", "54321")
    assert environment(tmp_path)["TWILIO_BASE_URL"] == "https://mallory.example"


def test_a_file_of_settings_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    """Whoever made it."""
    (tmp_path / ".env").touch()
    (tmp_path / ".env").chmod(0o666)
    with pytest.raises(Untrusted, match="everybody on this machine"):
        environment(tmp_path)


def test_a_file_of_settings_that_others_may_read_is_told(tmp_path: Path) -> None:
    """It is no error; one of our own that is private is nothing to speak of."""
    assert open_env_file(tmp_path) is None
    (tmp_path / ".env").touch(0o600)
    assert open_env_file(tmp_path) is None
    (tmp_path / ".env").chmod(0o644)
    assert open_env_file(tmp_path) == tmp_path / ".env"


@pytest.mark.parametrize(
    "text",
    ['"token"', "'token'", " token\n", "token\r\n", "\ufefftoken", "token\u200b", "\u201ctoken\u201d", "\xa0token\t"],
)
def test_a_secret_is_freed_of_what_copying_put_around_it(text: str) -> None:
    """Twilio would refuse it, and nobody could see why."""
    assert secret(text, "TWILIO_AUTH_TOKEN") == "token"


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("kept secret", "a blank"),
        ("kept\nsecret", "a line break"),
        ('kept"secret', "a quotation mark"),
        ("kept\u200bsecret", "cannot be seen"),
        ("képtsecret", "not ASCII"),
        ("${kept_secret}", "not replaced"),
    ],
)
def test_an_odd_secret_is_named_and_not_shown(text: str, odd: str) -> None:
    """The sentence says which variable it is, and what is odd about it."""
    with pytest.raises(FixConfiguration, match=f"^TWILIO_AUTH_TOKEN holds .*{odd}") as raised:
        secret(text, "TWILIO_AUTH_TOKEN")
    assert "secret" not in str(raised.value)


def test_quotes_that_a_container_was_given_are_no_part_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker --env-file` keeps them. What is not ours stays as it is."""
    monkeypatch.setenv("EXPORT_ROOT", '"/srv/data"')
    monkeypatch.setenv("OTHER", '"quoted"')
    env = environment(tmp_path)
    assert (env["EXPORT_ROOT"], env["OTHER"]) == ("/srv/data", '"quoted"')


def test_a_home_is_expanded_and_one_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every setting that names a folder."""
    monkeypatch.setenv("HOME", "/home/me")
    assert path_of("~/data", "EXPORT_ROOT") == Path("/home/me/data")
    with pytest.raises(FixConfiguration, match="EXPORT_ROOT is '~nobody-here/x'"):
        path_of("~nobody-here/x", "EXPORT_ROOT")


def test_who_is_trusted_is_named_by_name_or_number() -> None:
    """A name that is not known here is refused: it would silently trust nobody."""
    assert trusted_writers({}) == Writers()
    given = trusted_writers({"EXPORT_TRUSTED_WRITERS": "root, 1234 ,group"})
    assert given == Writers(frozenset({0, 1234}), group=True)
    assert trusted_writers({"EXPORT_TRUSTED_WRITERS": "all"}).everybody
    with pytest.raises(FixConfiguration, match="no-such-user"):
        trusted_writers({"EXPORT_TRUSTED_WRITERS": "no-such-user"})
