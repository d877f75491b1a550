"""Delete: at Twilio, on request, and only what is proven to be safe here.

`propose` makes a plan and changes nothing. `delete` carries out a confirmed plan: every guard is asked for the whole
plan before the first DELETE, lists are read to their end before anything is deleted, each proof is read from disk again
in this process, an intent is durable before each DELETE and an outcome after it. Twilio has no trash: when in doubt,
nothing is sent. Never part of an export.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from pipelines.clock import ExportClock
from pipelines.delete.gate import Shown, conditions, gate, why_shut
from pipelines.delete.guards import here, only_deleter, whole_warehouse
from pipelines.delete.look import Target, fetch, look, look_again
from pipelines.delete.plan import (
    DAY,
    DeletePlan,
    PlannedResult,
    Terms,
    check_age,
    check_binding,
    check_budgets,
    check_day,
    check_terms,
    left_out_as_unverified,
    plan_delete,
)
from pipelines.delete.proof import exported_results, landed_days, verify_results
from pipelines.delete.record import Record
from pipelines.delete.verified import Unverified, VerifiedResult
from pipelines.errors import ApplyAgain, FixConfiguration, PlanAgain, SourceError, SourceRefused
from pipelines.records.sids import AccountSid, add_on_result_sid, recording_sid
from pipelines.twilio.client import DeleteOutcome, DeleteReply, TwilioClient
from warehouse import ledger as steps
from warehouse.clock import trusted_now
from warehouse.ledger import Ledger, read_ledger
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.lock import shared
from warehouse.store.names import Destination
from warehouse.upkeep.compact import compact

BATCH = 25
"""Results whose intents become durable together; also the most DELETEs between two readings of the proof."""

STUBBORN = 3
"""DELETEs without effect, one after another, after which nothing more is sent."""

Clock = Callable[[], datetime]


@dataclass(slots=True)
class DeleteReport:
    """What a deletion did so far; grows while it runs. Counts are results.

    Attributes:
        planned: results the plan names.
        before: of these, deleted already when this run began.
        deleted: answered with a direct 204 in this run.
        absent: no longer there after a DELETE whose answer is not known, or that found nothing.
        unknown: may or may not be gone; settled when the same command is run again.
        present: still there after a DELETE that was not acknowledged.
        vanished: gone at Twilio although no DELETE had been sent.
        days: results deleted in this run by partition.
    """

    plan_hash: str = ""
    planned: int = 0
    before: int = 0
    deleted: int = 0
    absent: int = 0
    unknown: int = 0
    present: int = 0
    vanished: int = 0
    commit: int = 0
    days: Counter[date] = field(default_factory=Counter)

    def count(self, outcomes: Iterable[tuple[str, date]]) -> None:
        """Add outcomes, each with the partition of its result."""
        for step, day in outcomes:
            setattr(self, step, getattr(self, step) + 1)
            self.days[day] += step in steps.GONE

    @property
    def gone(self) -> int:
        """Results deleted by this run."""
        return self.deleted + self.absent

    def as_json(self) -> Mapping[str, str | int]:
        """The numbers by name."""
        names = ("plan_hash", "planned", "before", "deleted", "absent", "unknown", "present", "vanished", "commit")
        return {name: getattr(self, name) for name in names}


async def propose(
    client: TwilioClient,
    archive: Archive,
    *,
    first: date,
    last: date,
    terms: Terms,
    limits: Terms,
    destination: Destination,
    clock: Clock,
) -> DeletePlan:
    """Plan the deletion of the partitions `first` to `last`; reads here and at Twilio, and changes nothing.

    Raises:
        PlanAgain: the warehouse is damaged, the plan would exceed the terms, or the terms the limits.
        SourceError, FixConfiguration: Twilio did not say what it shows.
        WarehouseError: the archive cannot be read.
    """
    check_terms(terms, limits)
    with shared(archive.root):
        snapshot = archive.newest()
        ledger = whole_warehouse(snapshot)
        verdicts = verify_results(snapshot, landed_days(snapshot.commit, first, last))
        verified = [v for v in verdicts if isinstance(v, VerifiedResult)]
        newest = {sid: entry.step.step for sid, entry in ledger.last().items()}
        deleted = {sid for sid, step in newest.items() if step in steps.GONE}
        unsettled = {sid for sid, step in newest.items() if step in steps.UNSETTLED}
        targets = [
            (v.recording_sid, v.sid)
            for v in verified
            if v.account_sid == client.account_sid and v.deleted_at is None and v.sid not in deleted
        ]
        shown = await look(client, snapshot, targets, now=clock(), gone=deleted | unsettled)
        return plan_delete(
            verified,
            shown,
            first=first,
            last=last,
            binding=here(
                archive, ledger, account=client.account_sid, destination=destination, commit=snapshot.commit.number
            ),
            terms=terms,
            exported=exported_results(snapshot, client.account_sid),
            now=clock(),
            source_time=client.source_time(),
            deleted=deleted | (unsettled - shown.keys()),
            left_out=left_out_as_unverified([v for v in verdicts if isinstance(v, Unverified)]),
        )


async def delete(
    client: TwilioClient,
    archive: Archive,
    plan: DeletePlan,
    *,
    limits: Terms,
    destination: Destination,
    run_id: str,
    clock: Clock,
    report: DeleteReport | None = None,
) -> DeleteReport:
    """Carry out a plan that was confirmed, once; go on with one that was interrupted.

    Args:
        client: with the credential that may delete, for the account of the plan.
        archive: the warehouse of the plan.
        plan: as `read_plan` returned it.
        limits: what whoever deletes allows, in all plans of a day together.
        destination: what is published.
        run_id: kept in `loads` and commits.
        clock: the time now (UTC).
        report: counters to fill while running, for whoever shows them.

    Raises:
        PlanAgain: a guard refused. Before the first DELETE it refuses the whole plan; later it stops at once.
        ApplyAgain: something is left to do or to settle: run the same plan again.
        SourceError, FixConfiguration: Twilio does not answer, or refuses the credential.
        WarehouseError: the archive cannot be written or read.
    """
    report = report if report is not None else DeleteReport()
    report.plan_hash, report.planned = plan.hash, len(plan.results)
    check_age(plan, now=clock())
    check_terms(plan.terms, limits)
    if client.account_sid != plan.binding.account_sid:
        raise PlanAgain(f"The plan was made for another account: {plan.binding.account_sid}.")
    with only_deleter(archive), shared(archive.root):
        # a day's budget counts steps by when they were taken, whatever the clock here says and said
        stamps = ExportClock(clock, [client])
        record = Record(archive, account=client.account_sid, plan_hash=plan.hash, run_id=run_id, clock=stamps)
        try:
            await _Deletion(client, archive, plan, limits, record, clock, report).run(destination)
        finally:
            if record.commit is not None or record.spent:  # analysts see it in `deletions` and `deleted_at`
                compact(archive, now=clock(), run_id=run_id)
                report.commit = publish(archive, destination, now=clock()).commit
    return report


class _Deletion:
    """One run of one plan."""

    def __init__(
        self,
        client: TwilioClient,
        archive: Archive,
        plan: DeletePlan,
        limits: Terms,
        record: Record,
        clock: Clock,
        report: DeleteReport,
    ) -> None:
        self.client, self.archive, self.plan, self.limits = client, archive, plan, limits
        self.record, self.clock, self.report = record, clock, report
        self.credential_account: AccountSid | None = None
        self.stubborn = 0

    async def run(self, destination: Destination) -> None:
        bound = self.plan.binding
        ledger = whole_warehouse(self.archive.newest())
        check_binding(
            self.plan,
            here(
                self.archive,
                ledger,
                account=self.client.account_sid,
                destination=destination,
                commit=bound.commit,
                ledger_steps=bound.ledger_steps,
            ),
        )
        self.record.may_begin(ledger)
        await self._check_account()
        await self._settle(ledger)
        remaining, shown = await self._check_all()
        if remaining:
            self.record.begin(lambda newest: self._check_day(newest, remaining))
        for start in range(0, len(remaining), BATCH):
            await self._delete_batch(remaining[start : start + BATCH], shown)
        gone = self.record.gone()
        if left := [result for result in self.plan.results if result.sid not in gone]:
            raise ApplyAgain(
                f"{len(self.plan.results) - len(left)} of {len(self.plan.results)} add-on results are deleted; "
                f"{len(left)} are still there. Run the same command again."
            )
        self.record.spend()

    # -- before the first DELETE ------------------------------------------------------------------------

    async def _check_account(self) -> None:
        account = await self.client.account()
        if account is not None and account.sid != self.plan.binding.account_sid:
            raise PlanAgain(f"The credential is for another account: {account.sid}.")
        self.credential_account = None if account is None else account.sid

    async def _settle(self, ledger: Ledger) -> None:
        """Ask what became of every DELETE whose outcome is not known, of this plan or an earlier one."""
        found = {}
        for sid, entry in ledger.last().items():
            if entry.step.step in steps.UNSETTLED and entry.step.account_sid == self.client.account_sid:
                there = await fetch(
                    self.client, (recording_sid(entry.step.reference_sid or ""), add_on_result_sid(sid))
                )
                found[sid] = steps.ABSENT if there is None else steps.PRESENT
        if found:
            self.record.settle(ledger, found)
        planned = {result.sid for result in self.plan.results}
        self.report.absent = sum(step == steps.ABSENT for sid, step in found.items() if sid in planned)

    async def _check_all(self) -> tuple[list[PlannedResult], Mapping[str, Shown]]:
        """Every guard for the whole plan: what is still to be deleted, and what Twilio shows of it.

        Raises:
            PlanAgain: one of them refuses; all reasons are in it.
        """
        snapshot, gone = self.archive.newest(), self.record.gone()
        remaining = [result for result in self.plan.results if result.sid not in gone]
        done = len(self.plan.results) - len(remaining)
        self.report.before = done - self.report.absent
        exported = exported_results(snapshot, self.client.account_sid)
        check_budgets(len(self.plan.results), exported + done, self.plan.terms)
        self._check_day(read_ledger(snapshot), remaining)
        proofs = self._proofs(remaining)
        shown = await look(self.client, snapshot, [_at(r) for r in remaining], now=self.clock(), gone=gone)
        refusals = [
            f"Add-on result {result.sid}: {reason}"
            for result in remaining
            for reason in self._refusals(result, proofs[result.sid], shown.get(result.sid))
        ]
        if refusals:
            more = f" ({len(refusals) - 1} more reasons)" if len(refusals) > 1 else ""
            raise PlanAgain(f"Nothing more is deleted. {refusals[0]}{more}", reasons=refusals)
        await self._canary(remaining)
        return remaining, shown

    def _check_day(self, ledger: Ledger, remaining: Sequence[PlannedResult]) -> None:
        """Refuse what would be too much for a day, by the clock that is behind."""
        now = trusted_now(self.clock(), self.client.source_time()) or self.clock()
        recent = ledger.claimed_since(now - DAY) - {result.sid for result in remaining}
        gone = {
            sid
            for sid, entry in ledger.last().items()
            if entry.step.step in steps.GONE and entry.step.account_sid == self.client.account_sid
        }
        exported = exported_results(self.archive.newest(), self.client.account_sid)
        check_day(len(remaining), len(recent), exported + len(recent & gone), self.limits)

    async def _canary(self, remaining: Sequence[PlannedResult]) -> None:
        """Read one content from Twilio again, end to end: it must be the one that is landed."""
        choice = [(p.bytes, p.sid, p.sha256, result) for result in remaining for p in result.payloads]
        if not choice:
            return
        _, sid, digest, result = min(choice, key=lambda c: c[:2])
        try:
            content = await self.client.content(result.recording_sid, result.sid, sid)
        except SourceRefused as error:
            raise PlanAgain(f"Nothing more is deleted. Twilio does not give the content of payload {sid}.") from error
        if content.sha256 != digest:
            raise PlanAgain(f"Nothing more is deleted. Twilio has another content of payload {sid} than is landed.")

    # -- deleting ----------------------------------------------------------------------------------------

    async def _delete_batch(self, batch: Sequence[PlannedResult], shown: Mapping[str, Shown]) -> None:
        """Prove, claim, delete, record: a few results at a time, one after the other."""
        check_age(self.plan, now=self.clock())
        proofs = self._proofs(batch)
        for result in batch:
            self._refuse_unless_open(result, proofs[result.sid], shown[result.sid])
        self.record.claim(batch, {sid: proof for sid, proof in proofs.items() if isinstance(proof, VerifiedResult)})
        outcomes: dict[str, tuple[str, PlannedResult, DeleteReply | None]] = {}
        sent: set[str] = set()
        try:
            for result in batch:
                fresh = await look_again(self.client, _at(result), shown[result.sid])
                if fresh is None:
                    outcomes[result.sid] = (steps.VANISHED, result, None)
                    raise PlanAgain(f"Add-on result {result.sid} vanished at Twilio before its DELETE was sent.")
                self._refuse_unless_open(result, proofs[result.sid], fresh)
                sent.add(result.sid)
                try:
                    reply = await self.client.delete_add_on_result(result.recording_sid, result.sid)
                except FixConfiguration:
                    sent.discard(result.sid)  # the credential may not delete, and nothing was deleted
                    raise
                step, sentence = await self._outcome(result, reply)
                outcomes[result.sid] = (step, result, reply)
                if sentence is not None:
                    raise ApplyAgain(sentence)
        finally:
            # a DELETE without an outcome keeps its intent open: it is settled when the plan is run again
            unsent = [result for result in batch if result.sid not in sent | outcomes.keys()]
            self.record.close([*outcomes.values(), *((steps.WITHDRAWN, result, None) for result in unsent)])
            self.report.count([(step, result.completed_date) for step, result, _ in outcomes.values()])
            self.report.unknown += len(sent - outcomes.keys())

    async def _outcome(self, result: PlannedResult, reply: DeleteReply) -> tuple[str, str | None]:
        """The outcome of one DELETE, and a sentence when nothing more may be sent now."""
        acknowledged = reply.outcome is DeleteOutcome.DELETED
        try:
            there = await fetch(self.client, _at(result))
        except SourceError as error:
            if acknowledged:
                return steps.DELETED, None
            return steps.UNKNOWN, f"Whether add-on result {result.sid} is deleted is not known: {error}; run again."
        if there is None:
            self.stubborn = 0
            return (steps.DELETED if acknowledged else steps.ABSENT), None
        if acknowledged:
            return steps.UNKNOWN, f"Twilio says it deleted add-on result {result.sid} and still shows it; run again."
        self.stubborn += 1
        if self.stubborn >= STUBBORN:
            return steps.PRESENT, f"{STUBBORN} DELETEs had no effect (HTTP {reply.status}); run again later."
        return steps.PRESENT, None

    def _proofs(self, results: Sequence[PlannedResult]) -> Mapping[str, VerifiedResult | Unverified]:
        """What verification says of each, read from the disk now."""
        days = {result.completed_date for result in results}
        found = verify_results(self.archive.newest(), days, only=[result.sid for result in results])
        return {verdict.sid: verdict for verdict in found}

    def _refusals(
        self, result: PlannedResult, proof: VerifiedResult | Unverified, shown: Shown | None
    ) -> tuple[str, ...]:
        """Why the gate is shut for one result; empty when it is open."""
        held = conditions(
            proof,
            shown,
            account=self.plan.binding.account_sid,
            credential_account=self.credential_account,
            min_age=self.plan.terms.min_age,
            now=trusted_now(self.clock(), self.client.source_time()),
            pending=True,  # what is deleted or claimed is sorted out by the record
            as_planned=isinstance(proof, VerifiedResult) and result.names(proof),
        )
        shut = gate(held)
        return why_shut(shut, proof, shown, account=self.plan.binding.account_sid) if shut else ()

    def _refuse_unless_open(self, result: PlannedResult, proof: VerifiedResult | Unverified, shown: Shown) -> None:
        if refusals := self._refusals(result, proof, shown):
            raise PlanAgain(f"Stopped at add-on result {result.sid}: {refusals[0]}", reasons=refusals)


def _at(result: PlannedResult) -> Target:
    return result.recording_sid, result.sid
