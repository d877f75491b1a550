"""Storage on addresses that are not public, in a network of the test's own: who is let through, and what is said."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.twilio.own_network import CASES, NAT64_PRIVATE, NAT64_PUBLIC, PRIVATE, PUBLIC

Outcomes = dict[str, tuple[str, list[str]]]

ROOT = Path(__file__).resolve().parents[3]
UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount"]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What each case ended with; skipped where no network of one's own can be made."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network of its own needs unshare and ip (util-linux, iproute2)")
    if subprocess.run([*UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user make a network of its own (unshare --user --net)")
    command = [
        *UNSHARE,
        sys.executable,
        "-m",
        "tests.pipelines.twilio.own_network",
        str(tmp_path_factory.mktemp("hosts")),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode and "ip" in done.stderr and "address" in done.stderr and "add" in done.stderr:
        pytest.skip(f"addresses cannot be added here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]  # as it prints them


@pytest.mark.parametrize(
    ("case", "at"),
    [
        ("public.test", PUBLIC),
        ("nat64.test", NAT64_PUBLIC),
        ("mixed.test", PUBLIC),
        ("both.test", NAT64_PUBLIC),
        *((f"{host}.test named", None) for host in ("private", "carrier", "vpn", "local", "nat64-private")),
    ],
)
def test_contents_are_read_where_storage_may_be(case: str, at: str | None, outcomes: Outcomes) -> None:
    """Public addresses, also by NAT64 and beside one that is not, and networks that are named."""
    text, met = outcomes[case]
    assert text == "content"
    assert len(met) == 1
    assert at in (None, *met)


REFUSED = [
    *(f"{host}.test" for host in ("private", "carrier", "vpn", "local", "metadata", "nat64-private")),
    "metadata.test named",
    "another network named",
]


@pytest.mark.parametrize("case", REFUSED)
def test_other_addresses_are_not_connected_to_and_the_setting_is_named(case: str, outcomes: Outcomes) -> None:
    """Nothing is sent there; the sentence says how a network of one's own is let through."""
    text, met = outcomes[case]
    assert "EXPORT_STORAGE_NETWORKS" in text
    assert met == []


def test_no_case_is_left_unjudged(outcomes: Outcomes) -> None:
    """Each is either read or refused; what only private addresses would give is never read beside a public one."""
    assert outcomes.keys() == CASES.keys()
    assert {PRIVATE, NAT64_PRIVATE}.isdisjoint(outcomes["mixed.test"][1] + outcomes["both.test"][1])
