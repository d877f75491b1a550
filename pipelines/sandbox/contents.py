"""Invented call-center talk, and the shapes in which transcription vendors return it.

Every content is a pure function of the random generator it is given, so a seed fixes its exact bytes. The
names, firms and numbers are invented. The shapes follow public samples: IBM Watson's nested alternatives with
mixed-type timestamps and speaker labels, VoiceBase's `media.transcripts.text`, a flat `transcription`, plain text,
and audio.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

_AGENTS = ("Maya", "Tom", "Priya", "Luis", "Hannah", "Omar", "Grace", "Ben")
_CALLERS = ("Mrs. Alder", "Mr. Quist", "Ms. Farrow", "Mr. Okoye", "Ms. Lindqvist", "Mr. Tamura", "Mrs. Bell")
_ITEMS = ("oak bookcase", "grey sofa", "standing lamp", "garden bench", "writing desk", "dining table")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")

_TALKS: dict[str, tuple[tuple[str, str], ...]] = {
    "delivery": (
        ("caller", "Hi, I'm calling about the {item} I ordered, number {number}. It was due on {day}."),
        ("agent", "I'm sorry about that. I can see it left our warehouse this morning."),
        ("caller", "So when will it actually get here?"),
        ("agent", "The driver has you down for {day2} between nine and noon. Shall I send you a text?"),
        ("caller", "Yes please, that would be great."),
    ),
    "refund": (
        ("caller", "The {item} arrived with a scratch right across the front, and I'd like my money back."),
        ("agent", "Oh no, that's not how it should reach you. Do you have the order number?"),
        ("caller", "It's {number}."),
        ("agent", "Thank you. I've approved the refund, and it should be on your card by {day2}."),
        ("caller", "Okay. I appreciate you sorting it out so quickly."),
    ),
    "billing": (
        ("caller", "I was charged twice for the same {item}, and I don't understand why."),
        ("agent", "Let me look. You're right, there are two payments under order {number}."),
        ("caller", "I only ever ordered one."),
        ("agent", "The second one was taken in error. It will be reversed by {day2} at the latest."),
        ("caller", "Alright, thanks for checking."),
    ),
    "praise": (
        ("caller", "I just wanted to say the two men who brought the {item} on {day} were wonderful."),
        ("agent", "That's lovely to hear. I'll make sure it reaches them."),
        ("caller", "They even took the old one down three flights of stairs."),
        ("agent", "I'll put that in writing for their manager. Thank you for calling."),
    ),
    "cancellation": (
        ("caller", "I need to cancel the {item}, order {number}. We're moving sooner than we thought."),
        ("agent", "No problem at all. It hasn't been packed yet, so there's nothing to pay."),
        ("caller", "That's a relief. Do I get an email?"),
        ("agent", "You'll have one within the hour. Is there anything else I can do?"),
        ("caller", "No, that's everything."),
    ),
}


@dataclass(frozen=True, slots=True)
class Talk:
    """One invented conversation: what it is about, and (speaker, sentence) in order."""

    intent: str
    turns: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The sentences in one line."""
        return " ".join(sentence for _, sentence in self.turns)


@dataclass(frozen=True, slots=True)
class Content:
    """What one payload holds."""

    label: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class AddOn:
    """One made-up add-on, and the contents a run of it leaves on the result with that SID."""

    name: str
    contents: Callable[[Random, Talk, str], tuple[Content, ...]]


def make_talk(random: Random) -> Talk:
    """A short conversation that reads like one."""
    intent = random.choice(tuple(_TALKS))
    day, day2 = random.sample(_DAYS, 2)
    agent, caller = random.choice(_AGENTS), random.choice(_CALLERS)
    slots = {
        "item": random.choice(_ITEMS),
        "number": str(random.randint(10000, 99999)),
        "day": day,
        "day2": day2,
    }
    opening = ("agent", f"Harbor Lane Furniture, this is {agent}. Good to hear from you, {caller}.")
    body = tuple((who, sentence.format_map(slots)) for who, sentence in _TALKS[intent])
    return Talk(intent, (opening, *body, ("agent", "Have a good day.")))


def _as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _watson(random: Random, talk: Talk, result_sid: str) -> tuple[Content, ...]:
    clock = 0.0
    results = []
    for number, (who, sentence) in enumerate(talk.turns):
        timestamps: list[list[str | float]] = []
        labels: list[dict[str, float]] = []
        for word in sentence.split():
            end = clock + 0.08 * len(word) + 0.1
            start, clock = round(clock, 2), end
            timestamps.append([word.strip(".,?!"), start, round(end, 2)])
            labels.append({"from": start, "to": round(end, 2), "speaker": int(who == "caller"), "confidence": 0.7})
        alternative = {
            "timestamps": timestamps,
            "confidence": round(random.uniform(0.72, 0.98), 3),
            "transcript": sentence + " ",
        }
        item = {"keywords_result": {}, "alternatives": [alternative], "final": True}
        results.append({"results": [item], "result_index": number, "speaker_labels": labels})
    job = str(uuid.UUID(int=random.getrandbits(128), version=4))
    body = {
        "user_token": result_sid,
        "results": results,
        "id": job,
        "event": "recognitions.completed_with_results",
    }
    return (Content("transcript", "application/json", _as_json(body)),)


def _voicebase(random: Random, talk: Talk, _: str) -> tuple[Content, ...]:
    names = {"agent": "Speaker 1", "caller": "Speaker 2"}
    text = "\n".join(f"{names[who]}: {sentence}" for who, sentence in talk.turns)
    media = {"mediaId": f"{random.getrandbits(64):016x}", "status": "finished"}
    transcript = {"media": {**media, "transcripts": {"text": text}}}
    keywords = {"media": {**media, "keywords": {"latest": {"words": [{"name": talk.intent, "relevance": "0.81"}]}}}}
    return (
        Content("transcript", "application/json", _as_json(transcript)),
        Content("keywords", "application/json", _as_json(keywords)),
    )


def _google(random: Random, talk: Talk, _: str) -> tuple[Content, ...]:
    body = {
        "transcription": talk.text,
        "intent": talk.intent,
        "confidence": round(random.uniform(0.8, 0.99), 2),
    }
    return (Content("transcription", "application/json", _as_json(body)),)


def _redaction(random: Random, talk: Talk, _: str) -> tuple[Content, ...]:
    text = "\n".join("".join("#" if c.isdigit() else c for c in sentence) for _, sentence in talk.turns) + "\n"
    samples = random.randbytes(random.randint(400, 1200) * 2)
    rate = 8000
    head = b"WAVEfmt " + b"".join(n.to_bytes(size, "little") for n, size in _wav_format(rate))
    body = head + b"data" + len(samples).to_bytes(4, "little") + samples
    audio = b"RIFF" + len(body).to_bytes(4, "little") + body
    return (
        Content("redacted transcript", "text/plain; charset=utf-8", text.encode()),
        Content("redacted audio", "audio/x-wav", audio),
    )


def _wav_format(rate: int) -> tuple[tuple[int, int], ...]:
    """Format chunk: its length, PCM, one channel, rate, bytes a second, block, bits; with their widths."""
    return ((16, 4), (1, 2), (1, 2), (rate, 4), (rate * 2, 4), (2, 2), (16, 2))


ADD_ONS = (
    AddOn("ibm_watson_speechtotext", _watson),
    AddOn("voicebase_transcription", _voicebase),
    AddOn("google_transcriptions", _google),
    AddOn("pci_redaction", _redaction),
)
"""Every add-on of the made-up world."""
