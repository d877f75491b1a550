"""The record of one run of a deletion: which steps it takes in the ledger, and when it may take them.

Every step is decided on the newest ledger and becomes durable with it or not at all. An intent claims its result: no
other run can claim it too. Must not ask Twilio.
"""

import json
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from pipelines.delete.plan import PlannedResult
from pipelines.delete.verified import VerifiedResult
from pipelines.errors import PlanAgain
from pipelines.records.sids import AccountSid
from pipelines.twilio.client import DeleteReply
from warehouse import ledger as steps
from warehouse.append import append
from warehouse.ledger import Ledger, Step, read_ledger
from warehouse.store.archive import Archive

LEASE = timedelta(minutes=15)
"""How long the open intent of another machine, which a lock here cannot exclude, keeps this one from deleting."""

Clock = Callable[[], datetime]


class Record:
    """Takes the steps of one run of one plan.

    Attributes:
        commit: the newest commit it made, None while there is none.
        spent: whether the plan was done before this run; the run that did it may have been killed before publishing.
    """

    def __init__(self, archive: Archive, *, account: AccountSid, plan_hash: str, run_id: str, clock: Clock) -> None:
        self.commit: int | None = None
        self.spent = False
        self._archive, self._account, self._plan_hash = archive, account, plan_hash
        self._run_id, self._clock = run_id, clock
        self._apply_id, self._host = uuid.uuid4().hex, socket.gethostname()

    def may_begin(self, ledger: Ledger) -> None:
        """Refuse a plan that is done, and to work beside another machine that may be deleting.

        Raises:
            PlanAgain: it is, or there is one.
        """
        self.spent = ledger.spent(self._plan_hash)
        if self.spent:
            raise PlanAgain("The plan has been applied already; a plan is good for one time.")
        for sid, entry in ledger.last().items():
            step = entry.step
            if step.step == steps.INTENT and step.host != self._host and step.at > self._clock() - LEASE:
                raise PlanAgain(f"Another machine, {step.host}, may be deleting: its intent for {sid} is open.")

    def gone(self) -> set[str]:
        """Results that were deleted, by this plan or an earlier one."""
        ledger = read_ledger(self._archive.newest())
        return {sid for sid, entry in ledger.last().items() if entry.step.step in steps.GONE}

    def settle(self, seen: Ledger, found: Mapping[str, str]) -> None:
        """Write down what asking Twilio has settled: results whose last step in `seen` left them open.

        `found` maps each to ABSENT or PRESENT.
        """
        before = seen.last()

        def decide(ledger: Ledger) -> Iterable[Step]:
            last = ledger.last()
            for sid, step in found.items():
                entry = last[sid]
                if entry.deletion_id == before[sid].deletion_id and entry.step.step != step:
                    yield self._step(step, sid, entry.step.reference_sid, reply={"settled_by": "GET"})

        self._append(decide)

    def begin(self, allow: Callable[[Ledger], None]) -> None:
        """Say that this run begins to delete; from now on no earlier run can claim anything.

        `allow` raises if by the newest ledger it may not.
        """

        def decide(ledger: Ledger) -> Iterable[Step]:
            self.may_begin(ledger)
            allow(ledger)
            return [self._step(steps.STARTED)]

        self._append(decide)

    def claim(self, batch: Sequence[PlannedResult], proofs: Mapping[str, VerifiedResult]) -> None:
        """Make the intents of a batch durable.

        Raises:
            PlanAgain: another run has begun, or one of the results is deleted or claimed. Nothing is claimed.
        """

        def decide(ledger: Ledger) -> Iterable[Step]:
            started = ledger.last_started()
            if started is None or started.apply_id != self._apply_id:
                raise PlanAgain("Another deletion has begun on this warehouse; this one stops.")
            last = ledger.last()
            for result in batch:
                before = last.get(result.sid)
                if before is not None and before.step.step in (*steps.GONE, steps.INTENT):
                    raise PlanAgain(f"Add-on result {result.sid} is deleted or claimed by another deletion.")
                yield self._step(
                    steps.INTENT, result.sid, result.recording_sid, proof=_rested_on(result, proofs[result.sid])
                )

        self._append(decide)

    def close(self, outcomes: Iterable[tuple[str, PlannedResult, DeleteReply | None]]) -> None:
        """Write down what became of intents of this run; a result whose intent is not open any more is passed over."""
        given = list(outcomes)

        def decide(ledger: Ledger) -> Iterable[Step]:
            last = ledger.last()
            for step, result, reply in given:
                before = last[result.sid].step
                if (before.step, before.apply_id) == (steps.INTENT, self._apply_id):
                    yield self._step(step, result.sid, result.recording_sid, reply=_said(reply))

        self._append(decide)

    def spend(self) -> None:
        """Say that the plan is done."""
        self._append(lambda _: [self._step(steps.SPENT)])

    def _append(self, decide: Callable[[Ledger], Iterable[Step]]) -> None:
        """Make steps durable, on a ledger that is whole."""

        def on_whole(ledger: Ledger) -> Iterable[Step]:
            if broken := ledger.broken():
                raise PlanAgain(broken)
            return decide(ledger)

        load = append(self._archive, on_whole, run_id=self._run_id, now=self._clock())
        if load.load_id is not None:
            self.commit = load.commit

    def _step(
        self,
        step: str,
        sid: str | None = None,
        recording: str | None = None,
        *,
        proof: Mapping[str, object] | None = None,
        reply: Mapping[str, object] | None = None,
    ) -> Step:
        return Step(
            step=step,
            at=self._clock(),
            plan_hash=self._plan_hash,
            apply_id=self._apply_id,
            host=self._host,
            account_sid=self._account,
            add_on_result_sid=sid,
            reference_sid=recording,
            proof=None if proof is None else json.dumps(proof),
            reply=None if reply is None else json.dumps(reply),
        )


def _rested_on(result: PlannedResult, proof: VerifiedResult) -> Mapping[str, object]:
    return {
        "completed_date": result.completed_date.isoformat(),
        "date_updated": result.date_updated.isoformat(),
        "payloads": msgspec.to_builtins(result.payloads),
        "commit": proof.commit,
        "published_commit": proof.published_commit,
        "files": dict(proof.files),
    }


def _said(reply: DeleteReply | None) -> Mapping[str, object] | None:
    if reply is None:
        return None
    return {
        "outcome": reply.outcome.value,
        "status": reply.status,
        "code": reply.code,
        "request_id": reply.request_id,
        "reason": reply.reason,
    }
