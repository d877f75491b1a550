"""Kills: processes that export, plan and delete are killed with SIGKILL, and the source itself says what it was told.

    make trial NAME=deletions ARGS="--kills 1000"

The judge sits in the sandbox and looks at the disk at the moment a DELETE arrives, with pyarrow alone: is every content
of that result in the archive, byte for byte, and did a confirmed plan name it? Damage is done to warehouses on the way,
after which not one DELETE may arrive. Naive ways to delete run as controls; the judge must catch each of them.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import duckdb
import pyarrow.parquet as pq

from pipelines import batches as lander
from pipelines.delete.apply import DeleteReport, delete, propose
from pipelines.delete.plan import Terms
from pipelines.delete.plan_file import file_text, read_plan, seal_key
from pipelines.errors import ExportError, PlanAgain
from pipelines.export import export
from pipelines.records.sids import account_sid, add_on_result_sid, recording_sid
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.twilio.client import Credential, Tuning, TwilioClient, connect
from tests.pipelines.conftest import NOW
from tests.warehouse.processes import be_killed_before
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

CONTEXT: ForkServerContext = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.trials.deletions"])

ANYTHING = Terms(min_age_hours=0, max_delete=1_000_000, max_share=1)

KEY = seal_key("of the trial")

PATIENCE = 120.0
"""Seconds until a child that does not end counts as hanging."""

PATIENT = Tuning(budget=PATIENCE, unanswered_budget=PATIENCE, api_deadline=PATIENCE, content_deadline=PATIENCE)

REFUSED, FAILED = 3, 5
"""Exit codes of a child: a guard refused; anything else that is said in one sentence."""


# -- what the children do -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a child works."""

    root: Path
    base_url: str
    account: str
    token: str

    @property
    def plan(self) -> Path:
        """Where its plan is."""
        return self.root.with_suffix(".plan")

    def client(self) -> TwilioClient:
        """A client of the sandbox."""
        return connect(
            account_sid(self.account), Credential(self.account, self.token), base_url=self.base_url, tuning=PATIENT
        )


def child_export(place: Place) -> None:
    """One export, landing a few rows at a time: more moments to be killed at."""
    lander.BATCH_ROWS = 6

    async def run() -> None:
        async with place.client() as client:
            archive = open_archive(place.root)
            report = await export(
                [client],
                archive,
                destination="duckdb",
                scope=Scope(),
                run_id="deletions",
                clock=lambda: NOW,
                workers=20,
            )
            report.verdict()

    ending(run)


def child_plan(place: Place) -> None:
    """One plan for everything."""

    async def run() -> None:
        async with place.client() as client:
            plan = await propose(
                client,
                open_archive(place.root),
                first=NOW.date() - timedelta(days=40),
                last=NOW.date(),
                terms=ANYTHING,
                limits=ANYTHING,
                destination="duckdb",
                clock=lambda: NOW,
            )
        temporary = place.plan.with_suffix(".tmp")
        temporary.write_text(file_text(plan, KEY))
        temporary.rename(place.plan)

    ending(run)


def child_apply(place: Place) -> None:
    """Carry out the plan."""

    async def run() -> None:
        text = place.plan.read_bytes()
        plan = read_plan(text, json.loads(text)["sha256"], KEY)
        async with place.client() as client:
            await delete(
                client,
                open_archive(place.root),
                plan,
                limits=ANYTHING,
                destination="duckdb",
                run_id="deletions",
                clock=lambda: NOW,
                report=DeleteReport(),
            )

    ending(run)


def ending(run: Callable[[], object]) -> None:
    """Exit codes instead of tracebacks."""
    try:
        asyncio.run(run())  # type: ignore[arg-type]  # a coroutine
    except PlanAgain as refusal:
        sys.stderr.write(f"refused: {refusal}\n")
        os._exit(REFUSED)
    except ExportError as error:
        sys.stderr.write(f"failed: {type(error).__name__}: {error}\n")
        os._exit(FAILED)


def child_apply_until(place: Place, step: int) -> None:
    """Carry out the plan, killed right before the given of all steps that make something durable or visible."""
    be_killed_before(step)
    child_apply(place)


# -- controls: ways to delete that must be caught --------------------------------------------------------------


def naive_first_content(place: Place) -> None:
    """Deletes every result of which a content is landed, trusting that the others came with it."""
    tables = open_archive(place.root).head().tables
    payloads = [r for path in tables["add_on_payloads"] for r in pq.read_table(place.root / path).to_pylist()]
    send(place, {(r["reference_sid"], r["add_on_result_sid"]) for r in payloads if r["content_sha256"]})


def naive_plan(place: Place) -> None:
    """Deletes what the plan names, trusting that nothing has happened to the archive since."""
    plan = json.loads(place.plan.read_bytes())["plan"]
    send(place, ((r["recording_sid"], r["sid"]) for r in plan["results"]))


def naive_listing(place: Place) -> None:
    """Deletes what Twilio lists while it lists it, because a plan was confirmed."""

    async def run() -> None:
        async with place.client() as client:
            async for recordings in client.recordings(NOW.date() - timedelta(days=10), NOW.date()):
                for raw in recordings:
                    recording = recording_sid(json.loads(raw)["sid"])
                    async for results in client.add_on_results(recording):
                        for row in results:
                            await client.delete_add_on_result(recording, add_on_result_sid(json.loads(row)["sid"]))

    ending(run)


def send(place: Place, targets: Iterable[tuple[str, str]]) -> None:
    """DELETE without more ado."""

    async def run() -> None:
        async with place.client() as client:
            for recording, result in targets:
                await client.delete_add_on_result(recording_sid(recording), add_on_result_sid(result))

    ending(run)


# -- the judge -------------------------------------------------------------------------------------------------


def archived(root: Path) -> dict[str, bytes]:
    """Contents by payload, read from the newest commit and its files without the product."""
    newest = max((root / "_commits").glob("[0-9]*.json"))
    found: dict[str, list[tuple[int, bytes]]] = {}
    for path in json.loads(newest.read_bytes())["tables"]["contents"]:
        for row in pq.read_table(root / path, partitioning=None, page_checksum_verification=True).to_pylist():
            found.setdefault(row["payload_sid"], []).append((row.get("chunk") or 0, row["content"]))
    return {sid: b"".join(content for _, content in sorted(chunks)) for sid, chunks in found.items()}


@dataclass
class Judge:
    """Looks at every DELETE when it arrives."""

    world: World
    root: Path
    named: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    on_delete: Callable[[Request], Reply | None] | None = None

    def __call__(self, request: Request) -> Reply | None:
        """Intercepts nothing unless told to."""
        if request.method != "DELETE":
            return None
        sid = request.sids[2]
        self.seen.append(sid)
        if sid not in self.named:
            self.violations.append(f"{sid} was named by no plan")
        try:
            here = archived(self.root)
        except (OSError, ValueError) as error:
            here = {}
            self.violations.append(f"the archive cannot be read: {error}")
        for payload in list(self.world.payloads.values()):
            if payload.add_on_result_sid == sid and here.get(payload.sid) != payload.content:
                self.violations.append(f"the content of {payload.sid} is not in the archive")
        return self.on_delete(request) if self.on_delete else None


def ended(process: BaseProcess) -> bool:
    """Wait for a child; False when it had to be killed. Time in which somebody has stopped it does not count."""
    waited = 0.0
    while process.is_alive() and waited < PATIENCE:
        process.join(1.0)
        waited += not is_stopped(process)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    return True


def is_stopped(process: BaseProcess) -> bool:
    """Whether a child is stopped by a signal, as far as this system says."""
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


@dataclass
class Scene:
    """One made-up account, one warehouse, and the judge between them."""

    sandbox: Sandbox
    place: Place
    judge: Judge
    random: Random
    tally: Counter[str]

    def run(self, work: Callable[[Place], None], *, kill_within: float | None = None) -> int:
        """Run a child to its end, or kill it at some moment before; returns its exit code."""
        process = CONTEXT.Process(target=work, args=(self.place,), daemon=True)
        started = time.monotonic()
        process.start()
        if kill_within is not None:
            process.join(self.random.uniform(0, kill_within))
            if process.is_alive():
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
        if not ended(process):
            self.judge.violations.append(f"{work.__name__} hangs")
        self.tally["runs"] += 1
        if process.exitcode == -signal.SIGKILL:
            self.tally["kills"] += 1
            self.tally[f"killed: {work.__name__.removeprefix('child_')}"] += 1
        else:
            self.tally["seconds"] += round(1000 * (time.monotonic() - started))
        return process.exitcode if process.exitcode is not None else FAILED

    def kill_after_commits(self, work: Callable[[Place], None], count: int) -> None:
        """Run a child and kill it when it has made so many commits."""
        folder = self.place.root / "_commits"

        def commits() -> int:
            return len(list(folder.glob("[0-9]*.json")))

        target = commits() + count
        process = CONTEXT.Process(target=work, args=(self.place,), daemon=True)
        process.start()
        while process.is_alive() and commits() < target:
            process.join(0.002)
        process.kill()
        process.join()

    def converge(self, work: Callable[[Place], None], *, kills: int, within: float) -> bool:
        """Kill it so often, then let it end; it must end well."""
        for _ in range(kills):
            if self.run(work, kill_within=within) == 0:
                return True
        code = self.run(work)
        if code != 0:
            self.judge.violations.append(f"{work.__name__} does not converge: exit code {code}")
        return code == 0

    def converge_apply(self, *, kills: int, within: float) -> bool:
        """As `converge`; a run that was killed after its last word leaves a plan that is done."""
        for _ in range(kills):
            if self.run(child_apply, kill_within=within) == 0:
                return True
        code = self.run(child_apply)
        gone = all(self.sandbox.world.results[sid].deleted_at is not None for sid in self.judge.named)
        if code != 0 and not (code == REFUSED and gone):
            self.judge.violations.append(f"the deletion does not converge: exit code {code}")
            return False
        return True

    def read_plan(self) -> set[str]:
        """What the plan names; from now on these may be deleted."""
        named = {result["sid"] for result in json.loads(self.place.plan.read_bytes())["plan"]["results"]}
        self.judge.named |= named
        return named


def grow(world: World, account: str, random: Random, count: int, *, payloads: tuple[int, ...] = (1, 1, 2, 3)) -> None:
    """Recordings of the last days with completed results and a few contents each."""
    for _ in range(count):
        recording = world.add_recording(account, NOW - timedelta(days=random.uniform(2, 5)))
        for number in range(random.choice((1, 1, 2))):
            result = world.add_result(recording, add_on=f"add-on {number}")
            for _ in range(random.choice(payloads)):
                world.add_payload(result, random.randbytes(random.randrange(1, 3000)), content_type="audio/x-wav")


@contextmanager
def scene(random: Random, tally: Counter[str], *, recordings: int = 5) -> Iterator[Scene]:
    """A fresh account and an empty folder."""
    world = World(seed=random.randrange(1 << 30))
    account = world.add_account(date_created=NOW.replace(year=2020))
    grow(world, account.sid, random, recordings)
    folder = Path(tempfile.mkdtemp(prefix="deletions-"))
    judge = Judge(world, folder / "data")
    try:
        with Sandbox(world, now=NOW) as sandbox:
            sandbox.settings.intercept = judge
            place = Place(folder / "data", sandbox.base_url, sandbox.account_sid, sandbox.auth_token)
            yield Scene(sandbox, place, judge, random, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- the trials ------------------------------------------------------------------------------------------------


def trial_kills(at: Scene) -> None:
    """Export, plan, delete, each killed at random moments; new results arrive between; two rounds."""
    for _ in range(2):
        if not at.converge(child_export, kills=at.random.randrange(4), within=0.8):
            return
        if not at.converge(child_plan, kills=at.random.randrange(2), within=0.5):
            return
        named = at.read_plan()
        grow(at.sandbox.world, at.place.account, at.random, 1)
        if not at.converge_apply(kills=at.random.randrange(2, 9), within=1.2):
            return
        finished(at, named)


def prepared(at: Scene) -> None:
    """Export and plan, undisturbed."""
    assert at.converge(child_export, kills=0, within=0), at.judge.violations
    assert at.converge(child_plan, kills=0, within=0), at.judge.violations


def trial_kill_at_the_delete(at: Scene) -> None:
    """Killed at the very moment a DELETE arrives: before it is processed, or after, when the reply is lost."""
    prepared(at)
    named = at.read_plan()
    running: list[int] = []

    def at_the_delete(request: Request) -> Reply | None:
        if not running or at.random.random() < 0.5:
            return None
        if at.random.random() < 0.5:  # processed, then the reply is lost
            at.sandbox.world.delete(at.sandbox.world.results[request.sids[2]], NOW)
        os.kill(running.pop(), signal.SIGKILL)
        return Reply(503, b"{}")

    at.judge.on_delete = at_the_delete
    for _ in range(6):
        process = CONTEXT.Process(target=child_apply, args=(at.place,), daemon=True)
        process.start()
        assert process.pid is not None
        running[:] = [process.pid]
        ended(process)
        running.clear()
        at.tally["runs"] += 1
        at.tally["kills"] += process.exitcode == -signal.SIGKILL
        at.tally["killed: at a DELETE"] += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    at.judge.on_delete = None
    if at.converge_apply(kills=0, within=0):
        finished(at, named)


def trial_kill_at_a_step(at: Scene) -> None:
    """Killed right before some fsync, rename, link, unlink or mkdir, again and again, then let end."""
    prepared(at)
    named = at.read_plan()
    for _ in range(5):
        process = CONTEXT.Process(target=child_apply_until, args=(at.place, at.random.randrange(1, STEPS)), daemon=True)
        process.start()
        ended(process)
        at.tally["runs"] += 1
        at.tally["kills"] += process.exitcode == -signal.SIGKILL
        at.tally["killed: at a step"] += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    if at.converge_apply(kills=0, within=0):
        finished(at, named)


STEPS = 80
"""About as many steps as a deletion of some results takes."""


def trial_beside_an_export(at: Scene) -> None:
    """An export lands new results, is killed and started again, while the deletion runs and is killed too."""
    prepared(at)
    named = at.read_plan()
    for _ in range(at.random.randrange(2, 5)):
        grow(at.sandbox.world, at.place.account, at.random, 1)
        other = CONTEXT.Process(target=child_export, args=(at.place,), daemon=True)
        other.start()
        at.run(child_apply, kill_within=1.5)
        if at.random.random() < 0.5:
            other.kill()
            at.tally["kills"] += 1
            at.tally["killed: export"] += 1
        ended(other)
    if at.converge(child_export, kills=0, within=0) and at.converge_apply(kills=0, within=0):
        finished(at, named)


def trial_damage(at: Scene) -> None:
    """Something happens to the warehouse or to Twilio after the plan: not one DELETE may be sent."""
    prepared(at)
    at.read_plan()
    what = at.random.choice(DAMAGES)
    what(at)
    at.tally[f"damage: {what.__name__}"] += 1
    for kill in (0.6, None):
        if at.run(child_apply, kill_within=kill) not in (REFUSED, -signal.SIGKILL):
            at.judge.violations.append(f"{what.__name__} was not refused")
    at.judge.violations += [f"{sid} was deleted after {what.__name__}" for sid in at.judge.seen]


def finished(at: Scene, named: set[str]) -> None:
    """Everything named is gone there, everything is here, nothing is left open, and exporting again changes nothing."""
    world, wrong = at.sandbox.world, at.judge.violations
    wrong += [f"{sid} is named and still there" for sid in named if world.results[sid].deleted_at is None]
    unnamed = {sid for sid, result in world.results.items() if result.deleted_at is not None} - at.judge.named
    wrong += [f"{sid} is gone and was not named" for sid in unnamed]
    if not at.converge(child_export, kills=0, within=0):
        return
    archive = open_archive(at.place.root)
    wrong += [mismatch.sentence for mismatch in verify(archive).mismatches]
    here = archived(at.place.root)
    wrong += [f"{p.sid} is not here" for p in world.payloads.values() if here.get(p.sid) != p.content]
    with duckdb.connect(str(at.place.root / PUBLISHED), read_only=True) as db:
        states = dict(db.execute("SELECT state, count(*) FROM retention GROUP BY state").fetchall())
    if states.pop("deleted", 0) != len(at.judge.named) or set(states) > {"exported"}:
        wrong.append(f"retention says {states}")
    at.tally["deleted"] += len(named)


# -- damages ---------------------------------------------------------------------------------------------------


def _some_file(at: Scene) -> Path:
    head = open_archive(at.place.root).head()
    return at.place.root / at.random.choice([path for files in head.tables.values() for path in files])


def one_flipped_bit(at: Scene) -> None:
    """In any live file."""
    path = _some_file(at)
    data = bytearray(path.read_bytes())
    data[at.random.randrange(len(data))] ^= 1 << at.random.randrange(8)
    path.write_bytes(data)


def a_missing_file(at: Scene) -> None:
    """Any live file."""
    _some_file(at).unlink()


def an_edit_in_duckdb(at: Scene) -> None:
    """Of a content."""
    path = (at.place.root / PUBLISHED).resolve()
    path.chmod(0o600)
    with duckdb.connect(str(path)) as db:
        tables = db.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = '_contents'").fetchall()
        for (table,) in tables:
            db.execute(f"UPDATE _contents.{table} SET content = 'edited'::BLOB")


def a_late_payload(at: Scene) -> None:
    """For one of the planned results."""
    world = at.sandbox.world
    result = world.results[at.random.choice(sorted(at.judge.named))]
    world.add_payload(result, b"late", date_created=NOW - timedelta(seconds=1))


def a_shrunk_list(at: Scene) -> None:
    """One planned result is not listed any more."""
    at.sandbox.world.lose(at.random.choice(sorted(at.judge.named)))


def an_edited_plan(at: Scene) -> None:
    """One result fewer."""
    file = json.loads(at.place.plan.read_bytes())
    file["plan"]["results"].pop()
    at.place.plan.write_text(json.dumps(file))


def another_warehouse(at: Scene) -> None:
    """A copy takes the place of the one the plan was made for."""
    root = at.place.root
    root.rename(root.with_suffix(".moved"))
    shutil.copytree(root.with_suffix(".moved"), root, symlinks=True)


DAMAGES: tuple[Callable[[Scene], None], ...] = (
    one_flipped_bit,
    one_flipped_bit,
    a_missing_file,
    an_edit_in_duckdb,
    a_late_payload,
    a_shrunk_list,
    an_edited_plan,
    another_warehouse,
)

TRIALS: tuple[Callable[[Scene], None], ...] = (
    trial_kills,
    trial_kills,
    trial_kill_at_the_delete,
    trial_kill_at_a_step,
    trial_beside_an_export,
    trial_damage,
)


def control(naive: Callable[[Place], None], at: Scene) -> None:
    """The same trial with a naive way to delete."""
    if naive is naive_first_content:
        grow(at.sandbox.world, at.place.account, at.random, 5, payloads=(9,))
        for _ in range(4):
            at.kill_after_commits(child_export, at.random.randrange(1, 4))
            at.judge.named |= set(at.sandbox.world.results)
            if list((at.place.root / "_commits").glob("[0-9]*.json")):
                at.run(naive)
            if at.judge.violations:
                return
        return
    prepared(at)
    at.read_plan()
    grow(at.sandbox.world, at.place.account, at.random, 1)
    path = at.place.root / next(iter(open_archive(at.place.root).head().tables["contents"]))
    at.random.choice((path.unlink, lambda: path.write_bytes(path.read_bytes()[:-9])))()
    at.run(naive)


CONTROLS = (naive_first_content, naive_plan, naive_listing)


def trials(seed: int, *, kills: int, say: Callable[[str], object] = print) -> tuple[Counter[str], list[str]]:
    """Run trials until so many processes have been killed; returns the numbers and every violation."""
    tally: Counter[str] = Counter()
    violations: list[str] = []
    number = 0
    while tally["kills"] < kills and len(violations) < 20:
        number += 1
        random = Random(f"{seed} {number}")
        trial = TRIALS[number % len(TRIALS)]
        with scene(random, tally) as at:
            trial(at)
            tally["DELETEs judged"] += len(at.judge.seen)
            tally["trials"] += 1
            found = [f"seed {seed}, trial {number}, {trial.__name__}: {v}" for v in at.judge.violations]
            violations += found
            for violation in found:
                say(violation)
        if number % 50 == 0:
            say(f"{number} trials, {tally['kills']} kills, {tally['deleted']} deleted, {len(violations)} violations")
    return tally, violations


def controls(seed: int, *, only: object = None, tries: int = 12) -> dict[str, int]:
    """How many of so many tries the judge caught each naive way in; stops at the first catch."""
    caught: dict[str, int] = {}
    for naive in CONTROLS if only is None else (c for c in CONTROLS if c is only):
        caught[naive.__name__] = 0
        for number in range(1, tries + 1):
            with scene(Random(f"{seed} {naive.__name__} {number}"), Counter(), recordings=6) as at:
                at.sandbox.settings.latency = 0.01
                control(naive, at)
                if at.judge.violations:
                    caught[naive.__name__] = number
                    break
    return caught


def main() -> None:
    """Run it and print a table; exit code 1 when anything was violated or a control was not caught."""
    parser = argparse.ArgumentParser(description="Kill exports and deletions and let the source judge.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    say = sys.stdout.write
    say(f"seed {options.seed}\n")
    started = time.monotonic()
    caught = controls(options.seed)
    for name, tries in caught.items():
        say(f"control {name}: {f'caught at try {tries}' if tries else 'NOT CAUGHT'}\n")
    tally, violations = trials(options.seed, kills=options.kills, say=lambda line: say(f"{line}\n"))
    del tally["seconds"]
    for name, count in sorted(tally.items()):
        say(f"{name:28} {count:8}\n")
    say(f"{'seconds':28} {round(time.monotonic() - started):8}\n{'violations':28} {len(violations):8}\n")
    for violation in violations:
        say(f"{violation}\n")
    sys.exit(1 if violations or not all(caught.values()) else 0)
