"""SIDs: the exact form and nothing else."""

from collections.abc import Callable

import pytest

from pipelines.records.sids import account_sid, add_on_result_sid, payload_sid, recording_sid

VALIDATORS = [("AC", account_sid), ("RE", recording_sid), ("XR", add_on_result_sid), ("XH", payload_sid)]


@pytest.mark.parametrize(("prefix", "validate"), VALIDATORS)
def test_a_well_formed_sid_is_returned_with_its_case_kept(prefix: str, validate: Callable[[str], str]) -> None:
    """Upper- and lower-case hex are both SIDs and are compared as given."""
    text = prefix + "aB" * 16
    assert validate(text) == text


@pytest.mark.parametrize(("prefix", "validate"), VALIDATORS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda sid: sid + "\n",
        lambda sid: sid[:-1],
        lambda sid: sid + "0",
        lambda sid: " " + sid,
        lambda sid: sid[:-1] + "g",
        lambda sid: sid[:-1] + "٣",  # an Arabic digit, which \d would take
        lambda sid: "../" + sid[3:],
        lambda sid: "ZZ" + sid[2:],
        lambda sid: sid.lower(),
        lambda _: "",
    ],
)
def test_anything_else_is_refused(prefix: str, validate: Callable[[str], str], spoil: Callable[[str], str]) -> None:
    """A newline at the end, a wrong length, prefix or digit: ValueError."""
    with pytest.raises(ValueError, match="is not the SID of"):
        validate(spoil(prefix + "0a" * 16))


def test_the_message_does_not_repeat_a_secret_put_in_the_wrong_place() -> None:
    """A token passed as SID must not be printed."""
    with pytest.raises(ValueError, match=r"'abcd'\.\.\.") as caught:
        account_sid("abcdefSECRETSECRET")
    assert "SECRET" not in str(caught.value)
