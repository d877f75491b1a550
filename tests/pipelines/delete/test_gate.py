"""The gate: open for one row of the table of all combinations, and every condition told apart."""

import ast
import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.delete import verified
from pipelines.delete.gate import REASONS, Conditions, Shown, conditions, gate
from pipelines.delete.verified import Unverified, VerifiedPayload, VerifiedResult
from pipelines.records.sids import account_sid, add_on_result_sid, payload_sid, recording_sid

ROOT = Path(__file__).resolve().parents[3]
NAMES = [field.name for field in fields(Conditions)]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACCOUNT = account_sid("AC" + "1" * 32)
OTHER = account_sid("AC" + "2" * 32)
PAYLOAD = payload_sid("XH" + "1" * 32)
LATE = "XH" + "2" * 32

RESULT = VerifiedResult(
    add_on_result_sid("XR" + "1" * 32),
    recording_sid("RE" + "1" * 32),
    ACCOUNT,
    date(2026, 11, 10),
    "completed",
    NOON - timedelta(days=10),
    NOON - timedelta(hours=72),
    None,
    (VerifiedPayload(PAYLOAD, 5, "ab" * 32, NOON - timedelta(days=10), NOON - timedelta(days=5)),),
    7,
    7,
    {},
    key=verified._KEY,
)
SHOWN = Shown(ACCOUNT, "completed", NOON - timedelta(days=10), {PAYLOAD: NOON - timedelta(days=10)}, True)


def held(result: VerifiedResult | Unverified = RESULT, shown: Shown | None = SHOWN, **changed: Any) -> tuple[str, ...]:
    """The conditions that do not hold of a result for which all do, but for what is changed."""
    facts: dict[str, Any] = {
        "account": ACCOUNT,
        "credential_account": ACCOUNT,
        "min_age": timedelta(hours=72),
        "now": NOON,
        "pending": True,
        "as_planned": True,
        **changed,
    }
    return gate(conditions(result, shown, **facts))


def test_the_gate_is_open_for_one_of_all_combinations() -> None:
    """Of 2 to the 12 rows the one in which everything holds; every other one names exactly what does not hold."""
    opened = 0
    for values in itertools.product((True, False), repeat=len(NAMES)):
        row = dict(zip(NAMES, values, strict=True))
        shut = gate(Conditions(**row))
        assert set(shut) == {name for name, value in row.items() if not value}
        opened += not shut
    assert opened == 1
    assert list(REASONS) == NAMES


def test_only_true_holds() -> None:
    """What is merely not false does not open the gate: a value that a defect left unset keeps it shut."""
    whole: dict[str, Any] = dict.fromkeys(NAMES, True)
    for wrong in (None, "yes", 1, [1]):
        assert gate(Conditions(**{**whole, "sealed": wrong})) == ("sealed",)


def test_everything_holds_of_a_rested_verified_result_that_is_shown_as_it_was_landed() -> None:
    """The one way through."""
    assert held() == ()
    assert held(credential_account=None) == ()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("final", lambda: held(replace(RESULT, status="failed", key=verified._KEY))),
        ("final", lambda: held(shown=replace(SHOWN, status="deleted"))),
        ("final", lambda: held(shown=replace(SHOWN, status=None))),
        ("rested", lambda: held(now=NOON - timedelta(microseconds=1))),
        ("pending", lambda: held(pending=False)),
        ("pending", lambda: held(replace(RESULT, deleted_at=NOON, key=verified._KEY))),
        ("own_account", lambda: held(replace(RESULT, account_sid=OTHER, key=verified._KEY))),
        ("own_account", lambda: held(credential_account=OTHER)),
        ("own_account", lambda: held(shown=replace(SHOWN, account_sid=OTHER))),
        ("own_account", lambda: held(shown=replace(SHOWN, account_sid=None), credential_account=None)),
        ("listed", lambda: held(shown=replace(SHOWN, beside_all_landed=False))),
        ("unchanged", lambda: held(shown=replace(SHOWN, date_updated=NOON - timedelta(days=10, seconds=-1)))),
        ("unchanged", lambda: held(replace(RESULT, date_updated=None, key=verified._KEY))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads=None))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads={}))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads={LATE: None}))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads={**(SHOWN.payloads or {}), LATE: NOON}))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads={PAYLOAD: NOON}))),
        ("same_payloads", lambda: held(shown=replace(SHOWN, payloads={PAYLOAD: None}))),
        ("as_planned", lambda: held(as_planned=False)),
    ],
)
def test_each_fact_shuts_the_gate_by_its_own_condition(name: str, change: Callable[[], tuple[str, ...]]) -> None:
    """One thing differs, one condition does not hold."""
    assert change() == (name,)


def test_a_payload_that_changed_after_its_content_was_fetched_shuts_the_gate() -> None:
    """Landed and shown agree on the change, but the content that is here came before it."""
    after = NOON - timedelta(days=1)
    payload = replace(RESULT.payloads[0], date_updated=after)
    result = replace(RESULT, payloads=(payload,), key=verified._KEY)
    assert held(result, replace(SHOWN, payloads={PAYLOAD: after})) == ("same_payloads",)


def test_nothing_has_rested_while_nobody_has_said_what_time_it_is() -> None:
    """The clock here alone opens no gate, however long ago everything was landed."""
    assert held(now=None) == ("rested",)


def test_what_is_not_shown_at_all_keeps_the_gate_shut() -> None:
    """No answer is not an answer."""
    assert {"final", "own_account", "listed", "unchanged", "same_payloads"} <= set(held(shown=None))


@pytest.mark.parametrize("proof", sorted(verified.PROOFS))
def test_each_missing_proof_shuts_the_gate_by_its_own_condition(proof: str) -> None:
    """What verification could not show counts as not given, and nothing stands in for it."""
    shut = held(Unverified(RESULT.sid, RESULT.recording_sid, RESULT.completed_date, frozenset({proof}), "Why."))
    assert verified.PROOFS & set(shut) == {proof}


def test_nobody_but_verification_makes_a_verified_result() -> None:
    """Without the key it cannot be made, nor copied with other values."""
    values = {field.name: getattr(RESULT, field.name) for field in fields(RESULT)}
    with pytest.raises(TypeError):
        VerifiedResult(**values)
    with pytest.raises(TypeError, match="only verify_results"):
        VerifiedResult(**values, key=object())  # type: ignore[arg-type]  # that is the point
    with pytest.raises((TypeError, ValueError)):
        replace(RESULT, status="completed")  # type: ignore[call-arg]  # mypy refuses it as well


def test_the_product_makes_verified_results_in_one_place_and_deletes_in_one_place() -> None:
    """Read off the source: who calls VerifiedResult, who names its key, who sends a DELETE."""
    makers, key_holders, senders, key_readers = set(), set(), set(), set()
    for folder in ("pipelines", "assets", "warehouse"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith("pipelines/sandbox/"):
                continue
            text = path.read_text()
            for node in ast.walk(ast.parse(text)):
                called = node.func if isinstance(node, ast.Call) else None
                word = called.id if isinstance(called, ast.Name) else getattr(called, "attr", None)
                makers |= {name} if word == "VerifiedResult" else set()
                senders |= {name} if word == "delete_add_on_result" else set()
                senders |= {name} if isinstance(node, ast.Constant) and node.value == "DELETE" else set()
                held_key = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
                key_holders |= {name} if held_key in ("_KEY", "_Key") and "VerifiedResult" in text else set()
            key_readers |= {name} if "TWILIO_DELETE_API" in text else set()
    assert makers == {"pipelines/delete/proof.py"}
    assert key_holders == {"pipelines/delete/proof.py", "pipelines/delete/verified.py"}
    assert senders <= {"pipelines/delete/apply.py", "pipelines/twilio/client.py"}
    assert "pipelines/delete/apply.py" in senders
    assert key_readers <= {"pipelines/settings.py", "pipelines/variables.py"}  # which is the table of their names
