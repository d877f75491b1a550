"""A plan of a deletion as a file: its text, and the seal that says that it was made by somebody who may delete.

Pure. The hash of a plan is no secret, so it proves nothing of who made it. The seal does: it is an HMAC over the hash
with a key that is derived from the secret of the deleting credential, and nobody without that secret can make it.
"""

import hashlib
import hmac
import json
from typing import NewType

import msgspec

from pipelines.delete.plan import FORMAT, DeletePlan, hash_of
from pipelines.errors import PlanAgain

SealKey = NewType("SealKey", bytes)

MAX_BYTES = 64_000_000
"""The most a file of a plan may have: some 100,000 results with their reasons."""


def seal_key(secret: str) -> SealKey:
    """The key of seals that belongs to the secret of the deleting credential; it is good for nothing else."""
    return SealKey(hmac.digest(secret.encode(), b"addon-export: seal of a deletion plan, 2", hashlib.sha256))


def file_text(plan: DeletePlan, key: SealKey) -> str:
    """The plan as it is written to a file.

    Raises:
        PlanAgain: it would be larger than a file of a plan may be.
    """
    file = {"sha256": plan.hash, "seal": _seal(plan.hash, key), "plan": msgspec.to_builtins(plan)}
    text = json.dumps(file, indent=1) + "\n"
    if len(text) > MAX_BYTES:
        raise PlanAgain("The plan is too long to be kept; name fewer days.")
    return text


def read_plan(text: bytes, confirmed: str, key: SealKey) -> DeletePlan:
    """Read a file of a plan.

    Raises:
        PlanAgain: it is not a plan, was edited, was made by somebody who may not delete, or is not the confirmed one.
    """
    try:
        file = json.loads(text)
        body, named = file["plan"], file["sha256"]
        actual = hash_of(body)
        form, seal = body["format"], file.get("seal")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PlanAgain("The file is not a plan of `delete plan`.") from error
    if actual != named:
        raise PlanAgain("The plan was edited after it was made.")
    if form != FORMAT:
        raise PlanAgain("The plan was made by another version; make a new one.")
    if not isinstance(seal, str) or not _same(seal, _seal(actual, key)):
        raise PlanAgain("The plan was not made with the credential that may delete; make a new one with it.")
    if not _same(confirmed.strip().lower(), actual):
        raise PlanAgain("The confirmed hash is not that of this plan; confirm the hash that `delete plan` printed.")
    try:
        plan = msgspec.convert(body, DeletePlan)
    except msgspec.ValidationError as error:
        raise PlanAgain("The plan is not of this version's form.") from error
    if plan.hash != actual:
        raise PlanAgain("The plan is not of this version's form.")
    if len({result.sid for result in plan.results}) != len(plan.results):
        raise PlanAgain("The plan names a result twice.")
    return plan


def _seal(plan_hash: str, key: SealKey) -> str:
    return hmac.digest(key, plan_hash.encode(), hashlib.sha256).hex()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())
