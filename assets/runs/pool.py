"""One budget for Twilio's API: the pool in which every step that asks Twilio takes a slot.

Twilio limits concurrent requests per account, and an export adapts to that limit by itself. Two exports together would
halve each other's pace and land nothing sooner, so one step runs at a time and has the limit to itself. Dagster holds
queued runs back until there is a slot. A command line's run waits outside of its step: inside, Dagster's executor in
process waits at full speed of the processor and no signal can end it.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dagster as dg

from assets.runs import off
from assets.runs.alive import alive, forget, gone, held, hold, known
from assets.runs.turn import WAITS, Patience, only_one
from pipelines.environment import environment, trusted_writers
from pipelines.errors import FixConfiguration
from warehouse.store.flocks import flock, unlock
from warehouse.store.opens import open_lock

POOL = off.POOL

STEPS_AT_ONCE = 1

POLL_SECONDS = 1.0

GONE = (
    "The process of this run ended without saying so: it was killed, perhaps for want of memory, or DAGSTER_HOME could "
    "not be written. What it landed stays, and the next run goes on from there."
)
"""Said of a run that is marked as failed."""


def limit_pool(instance: dg.DagsterInstance) -> None:
    """Give the pool its limit: the instance's default, or one where a `dagster.yaml` of before the pool sets none.

    A limit that somebody has chosen for the pool stays, unless it leaves no places: then nothing would be exported any
    more, however near a deadline. Schedules are what can be stopped.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    default = storage.get_pool_config().default_pool_limit
    pool = next((pool for pool in storage.get_pool_limits() if pool.name == POOL), None)
    if default is None and pool is None:
        storage.set_concurrency_slots(POOL, STEPS_AT_ONCE)
    elif default is not None and (pool is None or (pool.from_default and pool.limit != default)):
        storage.initialize_concurrency_limit_to_default(POOL)
    if pool_is_shut(instance):
        storage.set_concurrency_slots(POOL, STEPS_AT_ONCE)


def pool_is_shut(instance: dg.DagsterInstance) -> bool:
    """Whether the pool has no places, so that no export can begin."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return False
    return any(pool.name == POOL and pool.limit < 1 for pool in storage.get_pool_limits())


def free_abandoned(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, however far they were, and free what ended runs hold of the pool.

    Nothing is left of them in the folder of `assets.runs.alive` either. What cannot be recorded now is tried again by
    whoever comes next.

    Returns:
        Ids of the runs that were marked.
    """
    storage = instance.event_log_storage
    limited = storage.supports_global_concurrency_limits
    marked = []
    for run_id in sorted(known(instance) | (storage.get_concurrency_run_ids() if limited else set())):
        left = gone(instance, run_id)  # looked at first: a process that has ended has recorded what it ever will
        run = instance.get_run_by_id(run_id)
        if left and run is not None and not run.is_finished:
            instance.report_run_failed(run, GONE)
            marked.append(run_id)
        elif not (left if run is None else run.is_finished):
            continue
        if not held(instance, run_id):
            if limited:
                storage.free_concurrency_slots_for_run(run_id)
            forget(instance, run_id)
    return marked


def begin(instance: dg.DagsterInstance, run_id: str) -> None:
    """Show until the process ends that this run's is there, and see to the end of those whose is not."""
    hold(instance, run_id)
    free_abandoned(instance)


@contextlib.contextmanager
def slot(
    instance: dg.DagsterInstance,
    run_id: str,
    step: str,
    *,
    waits: Callable[[str], None],
    sleep: Callable[[float], None],
    patience: Patience = WAITS,
) -> Iterator[None]:
    """Hold a slot for a step of a run that is about to start in this process; it finds the slot taken for it.

    Args:
        instance: whose pool.
        run_id: the run's.
        step: the step's key.
        waits: told once if it has to wait, in a sentence that says for what.
        sleep: waits so many seconds; may raise to stop waiting.
        patience: whether it may wait, and for whom it makes way.

    Raises:
        FixConfiguration: the pool lets nobody in.
        RunLater: there is no slot now, and it is not to wait.
    """
    limit_pool(instance)
    storage = instance.event_log_storage
    with alive(instance, run_id), contextlib.ExitStack() as waiting:
        try:
            told = False
            free_abandoned(instance)
            while not _claimed(instance, run_id, step):
                reason = _in_the_way(instance)
                if not told:
                    claim = partial(_waiting, Path(instance.root_directory))
                    waiting.enter_context(only_one(patience, reason, claim))
                    waits(f"{reason}; waiting until it is done. Ctrl-C stops waiting.")
                    told = True
                sleep(POLL_SECONDS)
                free_abandoned(instance)
            waiting.close()
            yield
        finally:
            if storage.supports_global_concurrency_limits:
                storage.free_concurrency_slots_for_run(run_id)
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:  # where this or the end could not be recorded, the next process does it
                forget(instance, run_id)


def _in_the_way(instance: dg.DagsterInstance) -> str:
    """Who uses the pool, and how many may: the beginning of a sentence.

    Raises:
        FixConfiguration: none may.
    """
    info = instance.event_log_storage.get_concurrency_info(POOL)
    if not info.slot_count:
        raise FixConfiguration(
            f"The pool `{POOL}` in DAGSTER_HOME {instance.root_directory} has the limit 0, so nothing may ask Twilio; "
            f"set it to 1 with `dagster instance concurrency set {POOL} 1` or in the UI, Deployment, Concurrency."
        )
    holders = sorted({slot.run_id[:8] for slot in info.claimed_slots})
    who = f"Run {', '.join(holders)} is" if len(holders) == 1 else f"Runs {', '.join(holders)} are"
    return f"{who if holders else 'Another run is'} using Twilio (the pool `{POOL}` lets {info.slot_count} at a time)"


@contextlib.contextmanager
def _waiting(home: Path, kind: str) -> Iterator[bool]:
    handle = open_lock(home / "alive", f".waits-{kind}", 0o600, writers=trusted_writers(environment()))
    lock = None
    try:
        lock = flock(handle, fcntl.LOCK_EX, wait=False)
        yield lock is not None
    finally:
        unlock(handle, lock)


def _claimed(instance: dg.DagsterInstance, run_id: str, step: str) -> bool:
    """Take a slot if one is free; leaves nothing behind in the pool's queue if not."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return True
    if storage.claim_concurrency_slot(POOL, run_id, step, 0).is_claimed:
        return True
    storage.free_concurrency_slot_for_step(run_id, step)
    return False
