"""What of an unexpected error may be shown and kept."""

import dagster as dg
import pytest

from assets.discreet import discreet
from assets.runs.undisclosed import Undisclosed, undisclosed
from pipelines.errors import ExportError, SourceUnavailable

SECRET = "https://storage.example/x?X-Amz-Signature=canary"


def fail_with_cause() -> None:
    """As a library does it: the secret is in the text of the cause."""
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise SourceUnavailable("Twilio does not answer", status=503) from error


def test_an_unexpected_error_says_what_and_where_and_not_its_words() -> None:
    """The control, str(error), holds the secret."""
    with pytest.raises(ValueError, match="canary") as caught:
        raise ValueError(SECRET)
    said = discreet(caught.value)
    assert "ValueError" in said
    assert "test_undisclosed.py" in said
    assert "canary" not in said


def test_our_own_sentence_stays_and_its_cause_loses_its_words() -> None:
    """Both in what is printed and in what Dagster keeps of the chain."""
    with pytest.raises(ExportError, match="Twilio does not answer") as caught, undisclosed():
        fail_with_cause()
    assert isinstance(caught.value.__cause__, Undisclosed)
    assert "canary" not in str(caught.value.__cause__)
    assert "Twilio does not answer" in discreet(caught.value)


def test_an_unexpected_error_in_an_asset_leaves_no_words_in_dagsters_history() -> None:
    """The event log of a failed run, compared with the same asset unguarded."""

    def run(guarded: bool) -> str:  # a local of this test
        @dg.asset
        def broken() -> None:
            if guarded:
                with undisclosed():
                    raise ValueError(SECRET)
            raise ValueError(SECRET)

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([broken], instance=instance, raise_on_error=False)
            assert not result.success
            return repr([entry.dagster_event for entry in instance.all_logs(result.run_id)])

    assert "canary" in run(guarded=False)
    assert "canary" not in run(guarded=True)
