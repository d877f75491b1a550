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
        "How much of a call is silence?",
        "SELECT vendor, count(*) AS transcripts, round(avg(1 - spoken / duration_seconds), 2) AS silence\n"
        "FROM (\n"
        "    SELECT vendor, recording_sid AS sid,\n"
        "        list_sum(list_transform(words, lambda w: w.end_seconds - w.start_seconds)) AS spoken\n"
        "    FROM transcripts WHERE words IS NOT NULL\n"
        ") JOIN recordings USING (sid)\n"
        "WHERE duration_seconds > 0 GROUP BY vendor ORDER BY vendor",
    ),
    Question(
        "In how many calls a week was something said?",
        "SELECT date_trunc('week', local_day(start_time, 'America/New_York'))::DATE AS week,\n"
        "    count(DISTINCT call_sid) AS calls\n"
        "FROM search('money back') GROUP BY week ORDER BY week DESC LIMIT 4",
        dated=True,
    ),
    Question(
        "Which words stand around a keyword?",
        "SELECT start_seconds AS at, coalesce(speaker, channel) AS speaker, around\n"
        "FROM search('scratch', by_vendor := 'ibm_watson', most := 3) ORDER BY rank, position",
        dated=True,
    ),
    Question(
        "What do vendors make of the same call?",
        "SELECT vendor, round(confidence, 2) AS confidence, length(text) AS letters, left(text, 60) AS begins\n"
        "FROM transcripts\n"
        "WHERE recording_sid = (SELECT recording_sid FROM calls ORDER BY transcripts DESC, recording_sid LIMIT 1)\n"
        "ORDER BY vendor, payload_sid",
        dated=True,
    ),
    Question(
        "Which add-ons are the slowest?",
        "SELECT add_on, count(*) AS results, round(quantile_cont(latency_seconds, 0.95)) AS p95_seconds,\n"
        "    round(max(latency_seconds)) AS slowest_seconds\n"
        "FROM add_on_result_details WHERE status = 'completed' GROUP BY add_on ORDER BY p95_seconds DESC, add_on",
        dated=True,
    ),
    Question(
        "What is unsafe right now?",
        "SELECT state, add_on, count(*) AS results, min(expires_at) AS next_deadline\n"
        "FROM add_on_result_details WHERE state NOT IN ('exported', 'deleted')\n"
        "GROUP BY ALL ORDER BY next_deadline, add_on LIMIT 5",
        dated=True,
    ),
    Question(
        "What did the audio cost? (Twilio's data has no fees of add-ons.)",
        "SELECT date_trunc('month', created_date)::DATE AS month, count(*) AS recordings,\n"
        "    round(sum(duration_seconds) / 3600, 1) AS hours, -sum(price)::DOUBLE AS cost, price_unit\n"
        "FROM recordings WHERE duration_seconds >= 0 GROUP BY ALL ORDER BY month DESC, price_unit LIMIT 3",
        dated=True,
    ),
    Question(
        "What completed yesterday in New York?",
        "SELECT status, count(*) AS results FROM add_on_results\n"
        "WHERE local_day(date_completed, 'America/New_York') = local_day(now(), 'America/New_York') - 1\n"
        "GROUP BY status ORDER BY status",
        dated=True,
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
