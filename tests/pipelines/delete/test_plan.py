"""A plan: one canonical form, one hash, bound to one place and time, within its terms."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from pipelines.delete.gate import Shown
from pipelines.delete.plan import (
    VALID,
    Binding,
    DeletePlan,
    Terms,
    check_age,
    check_binding,
    check_budgets,
    check_day,
    check_terms,
    plan_delete,
)
from pipelines.delete.plan_file import file_text, read_plan, seal_key
from pipelines.delete.verified import _KEY
from pipelines.errors import PlanAgain
from pipelines.records.sids import add_on_result_sid
from tests.pipelines.delete.test_gate import ACCOUNT, NOON, OTHER, RESULT, SHOWN

BINDING = Binding(
    account_sid=ACCOUNT,
    root="/data",
    identity="a" * 64,
    destination="duckdb",
    commit=7,
    commit_sha256="b" * 64,
    ledger_steps=3,
    ledger_head="c" * 64,
)
RESULTS = [replace(RESULT, sid=add_on_result_sid(f"XR{n:032x}"), key=_KEY) for n in range(1, 5)]


def planned(*, shown: Shown = SHOWN, terms: Terms | None = None, exported: int = 4) -> DeletePlan:
    """A plan for four results."""
    return plan_delete(
        RESULTS,
        {result.sid: shown for result in RESULTS},
        first=date(2026, 11, 1),
        last=date(2026, 11, 20),
        binding=BINDING,
        terms=terms or Terms(max_share=1),
        exported=exported,
        now=NOON,
        source_time=NOON,
    )


PLAN = planned()
KEY = seal_key("the secret of who may delete")
TEXT = file_text(PLAN, KEY)


def test_a_plan_is_read_as_it_was_written() -> None:
    """The same value and the same hash, whatever the spaces and the order of the keys in the file."""
    assert read_plan(TEXT.encode(), PLAN.hash, KEY) == PLAN
    file = json.loads(TEXT)
    assert read_plan(json.dumps(file, sort_keys=True, indent=7).encode(), f" {PLAN.hash.upper()}\n", KEY) == PLAN
    assert [r.sid for r in PLAN.results] == [r.sid for r in RESULTS]
    assert PLAN.valid_until - PLAN.created_at == VALID == timedelta(hours=24)


def test_equal_plans_have_equal_hashes_and_different_ones_have_not() -> None:
    """The hash depends on the values alone."""
    assert planned().hash == PLAN.hash
    assert planned(terms=Terms(max_share=1.0, min_age_hours=72.0)).hash == PLAN.hash
    assert planned(exported=5).hash != PLAN.hash


EDITS: list[Callable[[Any], object]] = [
    lambda plan: plan["results"].pop(),
    lambda plan: plan["results"].append(plan["results"][0]),
    lambda plan: plan["results"][0].update(sid="XR" + "f" * 32),
    lambda plan: plan["results"][0].update(sid="../../Recordings/RE1"),
    lambda plan: plan["results"][0]["payloads"].clear(),
    lambda plan: plan["results"][0]["payloads"][0].update(sha256="0" * 64),
    lambda plan: plan.update(valid_until="2036-01-01T00:00:00Z"),
    lambda plan: plan["terms"].update(max_delete=10**6),
    lambda plan: plan["terms"].update(min_age_hours=0),
    lambda plan: plan["binding"].update(account_sid=OTHER),
    lambda plan: plan.update(note="harmless"),
    lambda plan: plan.pop("left_out"),
]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("renewed", [False, True])
def test_an_edited_plan_is_refused(edit: Callable[[Any], object], renewed: bool) -> None:
    """Also when the hash in the file was renewed and that one is confirmed: the seal is not its own."""
    file = json.loads(TEXT)
    edit(file["plan"])
    if renewed:
        body = json.dumps(file["plan"], sort_keys=True, separators=(",", ":")).encode()
        file["sha256"] = hashlib.sha256(body).hexdigest()
    with pytest.raises(PlanAgain, match="not made with the credential" if renewed else "edited"):
        read_plan(json.dumps(file).encode(), file["sha256"] if renewed else PLAN.hash, KEY)


def test_a_plan_that_says_more_than_this_version_reads_is_refused() -> None:
    """Even when its hash is confirmed: what is not understood is not carried out."""
    for edit in (EDITS[1], EDITS[-2], EDITS[-1], lambda plan: plan.update(format=3)):
        file = json.loads(TEXT)
        edit(file["plan"])
        body = json.dumps(file["plan"], sort_keys=True, separators=(",", ":")).encode()
        file["sha256"] = hashlib.sha256(body).hexdigest()
        file["seal"] = hmac.digest(KEY, file["sha256"].encode(), "sha256").hex()
        with pytest.raises(PlanAgain, match=r"this version's form|another version|twice"):
            read_plan(json.dumps(file).encode(), file["sha256"], KEY)


def test_a_plan_of_somebody_who_may_not_delete_is_refused() -> None:
    """Of another secret, of none, or with a seal that is no text; everybody can reckon the hash."""
    for seal in (json.loads(file_text(PLAN, seal_key("of the export")))["seal"], None, 7, "", PLAN.hash, "é" * 64):
        file = {**json.loads(TEXT), "seal": seal}
        with pytest.raises(PlanAgain, match="not made with the credential"):
            read_plan(json.dumps(file).encode(), PLAN.hash, KEY)


def test_a_plan_of_an_earlier_version_asks_for_a_new_one() -> None:
    """Which had no seal."""
    body = {**json.loads(TEXT)["plan"], "format": 1}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    with pytest.raises(PlanAgain, match="make a new one"):
        read_plan(json.dumps({"sha256": digest, "plan": body}).encode(), digest, KEY)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"plan": 1, "sha256": 2}', b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_plan_is_refused(text: bytes) -> None:
    """In one sentence."""
    with pytest.raises(PlanAgain):
        read_plan(text, "0" * 64, KEY)


@pytest.mark.parametrize("wrong", ["", PLAN.hash[:-1], PLAN.hash[:8], "0" * 64, PLAN.hash + "0"])
def test_the_confirmed_hash_must_be_the_plans(wrong: str) -> None:
    """Neither empty nor a part of it."""
    with pytest.raises(PlanAgain, match="not that of this plan"):
        read_plan(TEXT.encode(), wrong, KEY)


@pytest.mark.parametrize(
    ("count", "exported", "terms", "fits"),
    [
        (0, 0, Terms(), True),
        (500, 2500, Terms(), True),
        (501, 10_000, Terms(), False),
        (20, 100, Terms(), True),
        (21, 100, Terms(), False),
        (1, 4, Terms(), False),
        (1, 5, Terms(), True),
        (3, 10, Terms(max_share=0.3), True),
        (7, 10, Terms(max_share=0.7), True),
        (1, 10, Terms(max_delete=0), False),
        (1, 10, Terms(max_share=0), False),
    ],
)
def test_the_budgets_hold_for_the_whole_plan(count: int, exported: int, terms: Terms, fits: bool) -> None:
    """Absolute, and as a share of what is exported and not deleted; 500 and a fifth unless told otherwise."""
    if fits:
        check_budgets(count, exported, terms)
    else:
        with pytest.raises(PlanAgain, match="Over budget"):
            check_budgets(count, exported, terms)


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (Terms(min_age_hours=71.9), "EXPORT_DELETE_MIN_AGE_HOURS"),
        (Terms(max_delete=501), "EXPORT_DELETE_MAX"),
        (Terms(max_share=0.21), "EXPORT_DELETE_MAX_SHARE"),
    ],
)
def test_terms_may_narrow_the_limits_and_never_widen_them(terms: Terms, name: str) -> None:
    """Whoever made the plan; the sentence names the setting."""
    check_terms(Terms(min_age_hours=100, max_delete=1, max_share=0), Terms())
    check_terms(Terms(), Terms())
    with pytest.raises(PlanAgain, match=f"{name} a"):
        check_terms(terms, Terms())


@pytest.mark.parametrize(
    ("count", "recent", "exported", "fits"),
    [
        (10, 0, 100, True),
        (5, 5, 100, True),
        (6, 5, 100, False),
        (1, 10, 100, False),
        (0, 10, 100, True),
        (3, 0, 10, False),
        (1, 1, 10, True),
        (1, 2, 10, False),
    ],
)
def test_limits_count_over_a_day(count: int, recent: int, exported: int, fits: bool) -> None:
    """However many plans a day has: what was deleted within it counts. A plan without results fits always."""
    if fits:
        check_day(count, recent, exported, Terms(max_delete=10, max_share=0.2))
    else:
        with pytest.raises(PlanAgain, match="Over budget"):
            check_day(count, recent, exported, Terms(max_delete=10, max_share=0.2))


def test_a_plan_over_budget_is_not_made() -> None:
    """There is no plan to be confirmed then."""
    with pytest.raises(PlanAgain, match="Over budget"):
        planned(terms=Terms(max_share=0.5))


def test_what_the_gate_refuses_is_left_out_with_its_reason() -> None:
    """And with nothing but its reason."""
    plan = planned(shown=replace(SHOWN, status="failed"))
    assert plan.results == ()
    assert {left.sid: left.reasons for left in plan.left_out} == {
        r.sid: ("Its status is not completed, here or at Twilio.",) for r in RESULTS
    }


def test_a_plan_holds_for_24_hours() -> None:
    """From the instant it was made; a plan that claims more was not made here."""
    check_age(PLAN, now=NOON)
    check_age(PLAN, now=NOON + timedelta(hours=24, microseconds=-1))
    for now in (NOON + timedelta(hours=24), NOON - timedelta(microseconds=1)):
        with pytest.raises(PlanAgain):
            check_age(PLAN, now=now)
    with pytest.raises(PlanAgain):
        check_age(replace(PLAN, valid_until=PLAN.valid_until + timedelta(hours=1)), now=NOON)


@pytest.mark.parametrize(
    "change",
    [
        {"account_sid": OTHER},
        {"root": "/elsewhere"},
        {"identity": "0" * 64},
        {"destination": "parquet"},
        {"commit_sha256": ""},
        {"ledger_head": None},
        {"ledger_head": "0" * 64},
    ],
)
def test_a_plan_is_good_for_one_account_and_one_warehouse(change: dict[str, Any]) -> None:
    """Whatever differs, it is refused."""
    check_binding(PLAN, BINDING)
    with pytest.raises(PlanAgain, match="another"):
        check_binding(PLAN, replace(BINDING, **change))
