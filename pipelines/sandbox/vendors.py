"""A made-up talk in the form of each vendor that transcribes: words, speakers, channels and turns as it has them.

The forms follow what vendors publish of them. Each is a pure function of a talk: when a sentence begins and ends
follows from its letters. The file is long because it is a list: a function for each form, and nothing between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pipelines.sandbox.contents import Talk

_MARKS = ".,?!"

_TICKS = 10_000_000

_SPEAKERS = ("agent", "caller")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it is written, with its mark if it has one; when it is said, in seconds."""

    shown: str
    start: float
    end: float

    @property
    def bare(self) -> str:
        """Without the mark behind it."""
        return self.shown.rstrip(_MARKS)

    @property
    def mark(self) -> str:
        """What stands behind it, or nothing."""
        return self.shown[len(self.bare) :]


@dataclass(frozen=True, slots=True)
class Turn:
    """A sentence: its words, and who says it, 0 for the agent and 1 for the caller."""

    speaker: int
    text: str
    words: tuple[Word, ...]

    @property
    def start(self) -> float:
        """Seconds from the beginning."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds from the beginning."""
        return self.words[-1].end


Turns = Sequence[Turn]


def spoken(talk: Talk) -> Turns:
    """The sentences of a talk with the times of their words."""
    clock, turns = 0.5, []
    for who, sentence in talk.turns:
        words = []
        for text in sentence.split():
            end = round(clock + 0.08 * len(text) + 0.1, 2)
            words.append(Word(text, clock, end))
            clock = end
        clock = round(clock + 0.4, 2)
        turns.append(Turn(_SPEAKERS.index(who), " ".join(sentence.split()), tuple(words)))
    return turns


def _all(turns: Turns) -> str:
    return " ".join(turn.text for turn in turns)


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


def _watson(turns: Turns) -> Json:
    results = []
    for number, turn in enumerate(turns):
        best = {
            "transcript": " ".join(word.bare for word in turn.words) + " ",
            "confidence": 0.9,
            "timestamps": [[word.bare, word.start, word.end] for word in turn.words],
            "word_confidence": [[word.bare, 0.9] for word in turn.words],
        }
        labels = [{"from": w.start, "to": w.end, "speaker": turn.speaker, "confidence": 0.7} for w in turn.words]
        guess = {"final": False, "alternatives": [{"transcript": "a guess "}]}
        one = {"result_index": number, "results": [guess, {"final": True, "alternatives": [best]}]}
        results.append({**one, "speaker_labels": labels})
    return {"event": "recognitions.completed_with_results", "results": results}


def _google(turns: Turns) -> Json:
    def words(turn: Turn, tag: int) -> list[Json]:
        times = [(f"{word.start:.3f}s", f"{word.end:.3f}s") for word in turn.words]
        return [
            {"word": word.shown, "startTime": start, "endTime": end, "speakerTag": tag}
            for word, (start, end) in zip(turn.words, times, strict=True)
        ]

    each = [{"alternatives": [{"transcript": turn.text, "confidence": 0.9, "words": words(turn, 0)}]} for turn in turns]
    whole = {"alternatives": [{"words": [word for turn in turns for word in words(turn, turn.speaker + 1)]}]}
    return {"name": "1", "done": True, "response": {"results": [*each, whole]}}


def _google_batch(turns: Turns) -> Json:
    results = [
        {
            "alternatives": [
                {
                    "transcript": turn.text,
                    "confidence": 0.9,
                    "words": [
                        {"word": w.shown, "startOffset": f"{w.start:.3f}s", "endOffset": f"{w.end:.3f}s"}
                        for w in turn.words
                    ],
                }
            ],
            "channelTag": turn.speaker + 1,
            "languageCode": "en-US",
        }
        for turn in turns
    ]
    file = {"inlineResult": {"transcript": {"results": results}}}
    return {"name": "2", "done": True, "response": {"results": {"gs://harbor-lane/call.wav": file}}}


def _voicebase(turns: Turns) -> Json:
    words: list[Json] = []
    for turn in turns:
        words.append({"w": f"{_SPEAKERS[turn.speaker].title()}:", "m": "turn", "s": _millis(turn.start), "c": 1.0})
        for word in turn.words:
            words.append({"w": word.bare, "s": _millis(word.start), "e": _millis(word.end), "c": 0.8})
            words += [{"w": word.mark, "m": "punc", "s": _millis(word.end), "e": _millis(word.end)}] * bool(word.mark)
    return {"mediaId": "1", "status": "finished", "transcript": {"confidence": 0.8, "words": words}}


def _deepgram_word(word: Word) -> Json:
    times = {"start": word.start, "end": word.end, "confidence": 0.9}
    return {"word": word.bare.lower(), "punctuated_word": word.shown, **times}


def _deepgram(turns: Turns) -> Json:
    words = [{**_deepgram_word(word), "speaker": turn.speaker} for turn in turns for word in turn.words]
    paragraphs = [
        {
            "sentences": [{"text": turn.text, "start": turn.start, "end": turn.end}],
            "speaker": turn.speaker,
            "num_words": len(turn.words),
            "start": turn.start,
            "end": turn.end,
        }
        for turn in turns
    ]
    best = {"transcript": _all(turns), "confidence": 0.9, "words": words, "paragraphs": {"paragraphs": paragraphs}}
    return {"metadata": {"channels": 1}, "results": {"channels": [{"alternatives": [best]}]}}


def _deepgram_channels(turns: Turns) -> Json:
    channels = []
    for speaker in (*range(len(_SPEAKERS)), 2):
        own = [turn for turn in turns if turn.speaker == speaker]
        best = {
            "transcript": _all(own),
            "confidence": 0.9 if own else 0.0,
            "words": [_deepgram_word(word) for turn in own for word in turn.words],
        }
        channels.append({"alternatives": [best]})
    utterances = [
        {"start": turn.start, "end": turn.end, "transcript": turn.text, "channel": turn.speaker} for turn in turns
    ]
    return {"metadata": {"channels": 3}, "results": {"channels": channels, "utterances": utterances}}


def _amazon_items(turn: Turn, **label: str) -> list[Json]:
    items: list[Json] = []
    for word in turn.words:
        times = {"start_time": f"{word.start}", "end_time": f"{word.end}"}
        said = [{"confidence": "0.9", "content": word.bare}]
        items.append({"type": "pronunciation", "alternatives": said, **times, **label})
        mark = {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": word.mark}], **label}
        items += [mark] * bool(word.mark)
    return items


def _amazon(turns: Turns) -> Json:
    segments = [
        {
            "start_time": f"{turn.start}",
            "end_time": f"{turn.end}",
            "speaker_label": f"spk_{turn.speaker}",
            "items": [{"start_time": f"{w.start}", "speaker_label": f"spk_{turn.speaker}"} for w in turn.words],
        }
        for turn in turns
    ]
    results = {
        "language_code": "en-US",
        "transcripts": [{"transcript": _all(turns)}],
        "speaker_labels": {"speakers": len(_SPEAKERS), "segments": segments},
        "items": [item for turn in turns for item in _amazon_items(turn)],
    }
    return {"jobName": "1", "status": "COMPLETED", "isRedacted": False, "results": results}


def _amazon_channels(turns: Turns) -> Json:
    channels = [
        {
            "channel_label": f"ch_{speaker}",
            "items": [
                item
                for turn in turns
                if turn.speaker == speaker
                for item in _amazon_items(turn, channel_label=f"ch_{speaker}")
            ],
        }
        for speaker in range(len(_SPEAKERS))
    ]
    labels = {"channels": channels, "number_of_channels": len(channels)}
    return {"results": {"transcripts": [{"transcript": _all(turns)}], "channel_labels": labels, "items": []}}


def _call_analytics(turns: Turns) -> Json:
    roles = ("AGENT", "CUSTOMER")
    said = [
        {
            "ParticipantRole": roles[turn.speaker],
            "Content": turn.text,
            "BeginOffsetMillis": _millis(turn.start),
            "EndOffsetMillis": _millis(turn.end),
            "Items": [
                {
                    "Type": "pronunciation",
                    "Content": word.bare,
                    "Confidence": "0.9",
                    "BeginOffsetMillis": _millis(word.start),
                    "EndOffsetMillis": _millis(word.end),
                }
                for word in turn.words
            ],
        }
        for turn in turns
    ]
    return {"Channel": "VOICE", "LanguageCode": "en-US", "ContentMetadata": {"Output": "Raw"}, "Transcript": said}


def _contact_lens(turns: Turns) -> Json:
    participants = ("AGENT", "CUSTOMER")
    said = [
        {
            "ParticipantId": participants[turn.speaker],
            "Content": "".join("#" if letter.isdigit() else letter for letter in turn.text),
            "BeginOffsetMillis": _millis(turn.start),
            "EndOffsetMillis": _millis(turn.end),
        }
        for turn in turns
    ]
    return {"Version": "1.1.0", "ContentMetadata": {"Output": "Redacted"}, "Participants": [], "Transcript": said}


def _assemblyai(turns: Turns) -> Json:
    def times(part: Turn | Word) -> Json:
        return {"start": _millis(part.start), "end": _millis(part.end), "confidence": 0.9}

    words = [{"text": w.shown, **times(w), "speaker": "AB"[turn.speaker]} for turn in turns for w in turn.words]
    utterances = [{"text": turn.text, **times(turn), "speaker": "AB"[turn.speaker]} for turn in turns]
    head = {"id": "1", "status": "completed", "audio_url": "", "language_code": "en_us", "confidence": 0.9}
    return {**head, "text": _all(turns), "words": words, "utterances": utterances}


def _whisper(turns: Turns) -> Json:
    segments = [
        {
            "id": number,
            "start": turn.start,
            "end": turn.end,
            "text": f" {turn.text}",
            "avg_logprob": -0.2,
            "speaker": f"SPEAKER_0{turn.speaker}",
            "words": [{"word": f" {w.shown}", "start": w.start, "end": w.end, "probability": 0.9} for w in turn.words],
        }
        for number, turn in enumerate(turns)
    ]
    return {"task": "transcribe", "language": "english", "text": f" {_all(turns)}", "segments": segments}


def _rev_ai(turns: Turns) -> Json:
    monologues = []
    for turn in turns:
        elements: list[Json] = []
        for number, word in enumerate(turn.words):
            elements += [{"type": "punct", "value": " "}] * bool(number)
            elements.append(
                {"type": "text", "value": word.bare, "ts": word.start, "end_ts": word.end, "confidence": 0.9}
            )
            elements += [{"type": "punct", "value": word.mark}] * bool(word.mark)
        monologues.append({"speaker": turn.speaker, "elements": elements})
    return {"monologues": monologues}


def _speechmatics(turns: Turns) -> Json:
    results: list[Json] = []
    for turn in turns:
        label = {"language": "en", "speaker": f"S{turn.speaker + 1}"}
        for word in turn.words:
            said = [{"content": word.bare, "confidence": 0.9, **label}]
            results.append({"type": "word", "start_time": word.start, "end_time": word.end, "alternatives": said})
            mark = [{"content": word.mark, "confidence": 1.0, **label}]
            times = {"start_time": word.end, "end_time": word.end}
            results += [{"type": "punctuation", **times, "alternatives": mark}] * bool(word.mark)
    config = {"language": "en", "diarization": "speaker"}
    return {"format": "2.9", "metadata": {"transcription_config": config}, "results": results}


def _azure(turns: Turns) -> Json:
    def times(part: Turn | Word) -> Json:
        return {
            "offsetInTicks": round(part.start * _TICKS),
            "durationInTicks": round((part.end - part.start) * _TICKS),
        }

    phrases = [
        {
            "recognitionStatus": "Success",
            "channel": turn.speaker,
            **times(turn),
            "nBest": [
                {
                    "confidence": 0.9,
                    "display": turn.text,
                    "words": [{"word": word.bare.lower(), **times(word), "confidence": 0.9} for word in turn.words],
                }
            ],
        }
        for turn in turns
    ]
    whole = [
        {"channel": speaker, "display": _all([turn for turn in turns if turn.speaker == speaker])}
        for speaker in range(len(_SPEAKERS))
    ]
    return {"source": "", "combinedRecognizedPhrases": whole, "recognizedPhrases": phrases}


def _gong(turns: Turns) -> Json:
    said = [
        {
            "speakerId": f"{7 + turn.speaker}",
            "sentences": [{"start": _millis(turn.start), "end": _millis(turn.end), "text": turn.text}],
        }
        for turn in turns
    ]
    return {"requestId": "1", "callTranscripts": [{"callId": "1", "transcript": said}]}


def _twilio_intelligence(turns: Turns) -> Json:
    sentences = [
        {
            "media_channel": turn.speaker + 1,
            "sentence_index": number,
            "start_time": f"{turn.start}",
            "end_time": f"{turn.end}",
            "transcript": turn.text,
            "confidence": "0.9",
            "words": [
                {"word": word.shown, "start_time": f"{word.start}", "end_time": f"{word.end}"} for word in turn.words
            ],
        }
        for number, turn in enumerate(turns)
    ]
    return {"sentences": sentences, "meta": {"key": "sentences"}}


FORMS: Mapping[str, Callable[[Turns], Json]] = MappingProxyType(
    {
        "ibm_watson_speakers": _watson,
        "google_speakers": _google,
        "google_batch": _google_batch,
        "voicebase_turns": _voicebase,
        "deepgram_paragraphs": _deepgram,
        "deepgram_channels": _deepgram_channels,
        "amazon_speakers": _amazon,
        "amazon_channels": _amazon_channels,
        "amazon_call_analytics": _call_analytics,
        "amazon_contact_lens": _contact_lens,
        "assemblyai": _assemblyai,
        "whisper": _whisper,
        "rev_ai": _rev_ai,
        "speechmatics": _speechmatics,
        "azure": _azure,
        "gong": _gong,
        "twilio_intelligence": _twilio_intelligence,
    }
)
"""A talk in the form of each vendor, by the name of the add-on that delivers it."""
