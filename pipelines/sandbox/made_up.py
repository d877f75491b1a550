"""`made_up_world`: a whole source with plausible data, the same for the same arguments.

It promises something of everything the exporter can meet, from one recording on: results in each of the eight
statuses at `now` (the open ones finish within five hours), results that finish late, failed ones with and
without `date_completed`, recordings without results, deleted recordings that still have some, dates with
other UTC offsets, several payloads a result, JSON, text and binary contents. Pure: `now` and seed go in.
"""

import json
from datetime import datetime, timedelta, timezone
from random import Random

from pipelines.sandbox.contents import ADD_ONS, AddOn, make_talk
from pipelines.sandbox.values import Account, Recording, Status, Step, steps_to
from pipelines.sandbox.vendors import FORMS, spoken
from pipelines.sandbox.world import World

_OFFSETS = (timedelta(hours=1), timedelta(hours=-5), timedelta(hours=5, minutes=30))
_RESULTS = (0, 1, 2, 2, 2, 3, 3, 3, 3, 4)
"""Results a recording, drawn evenly: 2.3 on average."""

_OUTCOMES: tuple[Status, ...] = ("completed",) * 47 + ("failed", "canceled", "deleted")


def made_up_world(
    *,
    now: datetime,
    seed: int = 7,
    recordings: int = 200,
    days: float = 30,
    subaccounts: int = 1,
    many_results: int = 0,
    with_vendors: bool = False,
) -> World:
    """A world whose recordings are spread over the `days` days before `now`, newest included.

    The first account is the main one with `recordings` recordings, and one more of `many_results` results
    when not 0; its first API key may not delete, its second may. Each subaccount has a tenth as many. `with_vendors`
    adds a recording that each vendor of `vendors` has transcribed, and changes nothing else.
    """
    now = now.replace(microsecond=0)
    random = Random(seed)  # noqa: S311  # made-up data, nothing to keep secret
    world = World(seed=seed)
    opened = now - timedelta(days=400)
    main = world.add_account(date_created=opened)
    world.add_key(main.sid, may_delete=False)
    world.add_key(main.sid)
    if recordings:
        _add_showcase(world, main, random, now)
        _add_recordings(world, main, random, now, recordings - 1, days)
    if many_results:
        _add_long_list(world, main, random, now, many_results)
    for number in range(1, subaccounts + 1):
        name = f"Harbor Lane branch {number}"
        branch = world.add_account(date_created=opened + timedelta(days=number), owner=main.sid, friendly_name=name)
        _add_recordings(world, branch, random, now, max(1, recordings // 10), days)
    if with_vendors:
        _add_vendors(world, main, random, now)
    return world


def _add_recordings(world: World, account: Account, random: Random, now: datetime, count: int, days: float) -> None:
    for _ in range(count):
        created = now - timedelta(seconds=random.randrange(60, max(61, int(days * 86400))))
        if random.random() < 0.05:
            created = created.astimezone(timezone(random.choice(_OFFSETS)))
        absent = random.random() < 0.01
        recording = world.add_recording(
            account.sid,
            created,
            duration=timedelta(seconds=0 if absent else random.randrange(12, 900)),
            conference_sid=world.sid("CF") if random.random() < 0.1 else None,
            channels=random.choice((1, 1, 2)),
            source=random.choice(("OutboundAPI", "DialVerb", "RecordVerb", "StartCallRecordingAPI")),
            final_status="absent" if absent else "completed",
            error_code=13227 if absent else None,
            deleted_at=created + (now - created) * random.random() if random.random() < 0.04 else None,
        )
        results = 0 if absent else random.choice(_RESULTS)
        for add_on in random.sample(ADD_ONS, results):
            _add_result(world, recording, add_on, random)


def _add_result(world: World, recording: Recording, add_on: AddOn, random: Random) -> None:
    minutes = recording.duration.total_seconds() / 60
    takes = timedelta(seconds=int(60 * (0.5 + minutes * random.uniform(0.2, 3))))
    if random.random() < 0.03:
        takes = timedelta(minutes=random.randrange(180, 40 * 60))
    outcome = random.choice(_OUTCOMES)
    result = world.add_result(
        recording,
        outcome=outcome,
        takes=takes,
        add_on=add_on.name,
        dated=outcome == "completed" or random.random() < 0.5,
    )
    if outcome in {"completed", "deleted"}:
        for content in add_on.contents(random, make_talk(random), result.sid):
            world.add_payload(result, content.data, content_type=content.content_type, label=content.label)


def _add_showcase(world: World, account: Account, random: Random, now: datetime) -> None:
    """One recording with a result in each status at `now`, and one failed without `date_completed`."""
    created = now - timedelta(hours=2)
    recording = world.add_recording(account.sid, created, duration=timedelta(minutes=4))
    start = created + recording.duration
    late = timedelta(hours=5)
    words: tuple[Status, ...] = ("init", "queued", "in-progress", "processing")
    for number, add_on in enumerate((*ADD_ONS, *ADD_ONS)):
        if number < len(words):
            reached = tuple(Step(start + timedelta(minutes=i), word) for i, word in enumerate(words[: number + 1]))
            ahead = tuple(Step(now + timedelta(hours=i), words[i]) for i in range(number + 1, len(words)))
            steps = (*reached, *ahead, Step(now + late, "completed"))
        else:
            outcome: Status = ("completed", "failed", "canceled", "deleted")[number - len(words)]
            steps = steps_to(outcome, start=start, end=start + timedelta(minutes=9))
        final = steps[-1].status
        result = world.add_result(
            recording, start, steps=steps, add_on=add_on.name, outcome=final, dated=final == "completed"
        )
        if final in {"completed", "deleted"}:
            for content in add_on.contents(random, make_talk(random), result.sid):
                world.add_payload(result, content.data, content_type=content.content_type, label=content.label)


def _add_long_list(world: World, account: Account, random: Random, now: datetime, count: int) -> None:
    """One recording, a day old, with `count` results of one payload each."""
    recording = world.add_recording(account.sid, now - timedelta(days=1))
    add_on = next(each for each in ADD_ONS if each.name == "google_transcriptions")
    for number in range(count):
        start = recording.date_created + recording.duration + timedelta(seconds=number // 4)
        result = world.add_result(recording, start, add_on=add_on.name)
        for content in add_on.contents(random, make_talk(random), result.sid):
            world.add_payload(result, content.data, content_type=content.content_type, label=content.label)


def _add_vendors(world: World, account: Account, random: Random, now: datetime) -> None:
    """One recording of an hour ago, with a result for each form in which vendors give the same talk."""
    recording = world.add_recording(account.sid, now - timedelta(hours=1), channels=2)
    turns = spoken(make_talk(random))
    for name, form in FORMS.items():
        result = world.add_result(recording, add_on=name)
        world.add_payload(result, json.dumps(form(turns)).encode())
