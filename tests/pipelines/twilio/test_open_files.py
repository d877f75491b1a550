"""Sharing out the files a process may open: every account's connections together stay below the limit."""

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from pipelines.twilio.open_files import ceilings, open_now, raise_open_files
from warehouse.errors import FixProcess
from warehouse.store.files import storage_errors


@pytest.mark.parametrize("limit", [40, 64, 256, 1024, 65_536])
def test_connections_leave_room_for_the_archive_whatever_the_limit_is(limit: int) -> None:
    """A quarter and what the archive needs stay free, and there is always one connection of each kind."""
    found = ceilings(limit=limit, used=25, wanted=400)
    assert found.api >= 1
    assert found.storage >= 1
    assert found.api + found.storage <= max(2, (limit - 25) - min(64, (limit - 25) // 2))
    assert found.api <= 400


def test_a_usual_limit_is_no_limit_on_one_account() -> None:
    """With 1,024 files there is room for all the requests that are ever sent at once."""
    found = ceilings(limit=1024, used=40, wanted=400)
    assert (found.api, found.storage) == (400, 230)


def _raised(hard: int, answer: "multiprocessing.Queue[tuple[int, int]]") -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    answer.put((raise_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """The soft one is a default that nobody has chosen; no more than the hard one can be had."""
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    child = context.Process(target=_raised, args=(512, answer))
    child.start()
    assert answer.get(timeout=60) == (512, 512)
    child.join()


def test_open_files_are_counted() -> None:
    """What the process has open already is not given away a second time."""
    before = open_now()
    handle = os.open(os.devnull, os.O_RDONLY)
    try:
        assert open_now() == before + 1
    finally:
        os.close(handle)


@pytest.mark.parametrize(("number", "whose"), [(errno.EMFILE, "process"), (errno.ENFILE, "machine")])
def test_too_many_open_files_are_the_processs_fault_and_not_the_folders(
    number: int, whose: str, tmp_path: Path
) -> None:
    """The sentence names the limit, and neither the folder nor EXPORT_ROOT."""
    with pytest.raises(FixProcess) as caught, storage_errors(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path))
    assert whose in str(caught.value)
    assert "ulimit -n" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "EXPORT_ROOT" not in str(caught.value)
