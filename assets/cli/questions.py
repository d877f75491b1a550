"""Questions that are often asked, with their SQL: what `demo` shows, and what `addon-export sql --examples` prints."""

from typing import NamedTuple


class Question(NamedTuple):
    """A question in words and in SQL; `dated` when its answer on the demo's data changes from day to day."""

    text: str
    sql: str
    dated: bool = False


DEMO: tuple[Question, ...] = (
    Question(
        "How many results completed on each of the last days, and are they exported?",
        "SELECT completed_date, count(*) AS results,\n"
        "    count(*) FILTER (state = 'exported') AS exported, round(min(hours_left)) AS hours_left\n"
        "FROM retention WHERE completed_date IS NOT NULL\n"
        "GROUP BY completed_date ORDER BY completed_date DESC LIMIT 5",
        dated=True,
    ),
    Question(
        "What was said in the latest transcribed calls?",
        "SELECT t.completed_date, t.vendor, r.duration_seconds AS seconds, t.text\n"
        "FROM transcripts t JOIN recordings r ON r.sid = t.recording_sid\n"
        "WHERE t.vendor = 'ibm_watson' ORDER BY t.completed_date DESC, t.payload_sid LIMIT 2",
        dated=True,
    ),
    Question(
        "Which kinds of content did the add-ons deliver?",
        "SELECT content_type, count(*) AS payloads, sum(content_length) AS bytes\n"
        "FROM add_on_payloads GROUP BY content_type ORDER BY payloads DESC",
    ),
)


"""Three for the first screen."""

EXAMPLES: tuple[Question, ...] = (
    Question(
        "What is at risk, and how long is left?",
        "SELECT state, count(*) AS results, round(min(hours_left)) AS hours_left\n"
        "FROM retention GROUP BY state ORDER BY state",
        dated=True,
    ),
    Question(
        "How many results completed on each day, by status?",
        "SELECT completed_date, status, count(*) AS results\n"
        "FROM add_on_results GROUP BY ALL ORDER BY completed_date DESC NULLS LAST, status LIMIT 8",
        dated=True,
    ),
    Question(
        "How is each day doing?",
        "SELECT completed_date, results, exported, lost, round(failure_rate, 3) AS failure_rate, next_deadline\n"
        "FROM days ORDER BY completed_date DESC NULLS LAST LIMIT 7",
        dated=True,
    ),
    Question(
        "How often does each add-on fail?",
        "SELECT name, results, completed, failed, canceled, round(failure_rate, 3) AS failure_rate\n"
        "FROM add_ons ORDER BY failure_rate DESC, name",
    ),
    Question(
        "How long do the add-ons take, beside the length of the recording?",
        "SELECT add_on, count(*) AS results, round(median(latency_seconds)) AS median_seconds,\n"
        "    round(median(latency_seconds / duration_seconds), 2) AS times_the_recording\n"
        "FROM add_on_result_details WHERE status = 'completed' AND duration_seconds > 0\n"
        "GROUP BY add_on ORDER BY add_on",
    ),
    Question(
        "Which kinds of transcripts are there, and how sure are the vendors?",
        "SELECT vendor, count(*) AS transcripts, round(avg(confidence), 2) AS confidence,\n"
        "    sum(len(words)) AS words, round(avg(length(text))) AS letters\n"
        "FROM transcripts GROUP BY vendor ORDER BY vendor NULLS LAST",
    ),
    Question(
        "Which calls mention a word?",
        "SELECT vendor, count(*) AS transcripts, count(DISTINCT recording_sid) AS recordings\n"
        "FROM transcripts WHERE text ILIKE '%sofa%' GROUP BY vendor ORDER BY vendor",
    ),
    Question(
        "Which order numbers were spoken of in calls about refunds?",
        "SELECT regexp_extract(text, '\\b\\d{5}\\b') AS order_number, count(*) AS calls\n"
        "FROM transcripts WHERE regexp_matches(text, '(?i)money back|refund')\n"
        "    AND vendor = 'ibm_watson' GROUP BY order_number ORDER BY order_number LIMIT 5",
    ),
    Question(
        "Who talks how much?",
        "SELECT coalesce(speaker, channel) AS who, count(*) AS turns, count(DISTINCT recording_sid) AS recordings,\n"
        "    round(avg(end_seconds - start_seconds), 1) AS seconds_a_turn\n"
        "FROM turns GROUP BY who ORDER BY turns DESC, who LIMIT 4",
    ),
    Question(
        "Which calls were long, and what is known of them?",
        "SELECT duration_seconds AS seconds, vendor, turns, round(confidence, 2) AS confidence, unsafe, add_ons\n"
        "FROM calls WHERE text IS NOT NULL ORDER BY duration_seconds DESC, recording_sid LIMIT 3",
    ),
    Question(
        "When in the call was a word said?",
        "SELECT count(*) AS times_said, round(avg(w.start_seconds), 1) AS seconds_into_the_call\n"
        "FROM (SELECT unnest(words) AS w FROM transcripts WHERE words IS NOT NULL)\n"
        "WHERE lower(w.word) = 'scratch'",
    ),
    Question(
        "Which long words are in the transcripts a vendor is less sure of?",
        "SELECT lower(w.word) AS word, count(*) AS times_said\n"
        "FROM (SELECT unnest(words) AS w FROM transcripts WHERE confidence < 0.9 AND words IS NOT NULL)\n"
        "WHERE length(w.word) > 6 GROUP BY word ORDER BY times_said DESC, word LIMIT 5",
    ),
    Question(
        "What does a vendor's JSON hold that has no column?",
        "SELECT c.content_text::JSON ->> '$.intent' AS intent, count(*) AS calls\n"
        "FROM transcripts t JOIN contents c USING (payload_sid)\n"
        "WHERE t.vendor = 'google' GROUP BY intent ORDER BY calls DESC, intent",
    ),
    Question(
        "What is there beside transcripts, and whose shape does nobody know yet?",
        "SELECT vendor, add_on, label, count(*) AS payloads, json_keys(any_value(json)) AS keys\n"
        "FROM analyses GROUP BY vendor, add_on, label ORDER BY payloads DESC",
    ),
    Question(
        "How much was kept of how much audio?",
        "SELECT count(DISTINCT reference_sid) AS recordings, count(*) AS results, sum(payloads) AS payloads\n"
        "FROM add_on_result_details WHERE state = 'exported'",
    ),
    Question(
        "What could not be read, and why?",
        "SELECT kind, reason, count(*) AS times FROM quarantine GROUP BY ALL ORDER BY times DESC",
    ),
)
"""For `addon-export sql --examples`, and for the README."""
