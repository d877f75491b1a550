"""Which bytes are text, and in which charset: what the type says, byte order marks, and how JSON begins."""

import codecs
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.charsets import UTF_8, as_text, codec_of

WORDS = 'Grüße: "5 € zurück", 東京 🙂'
JSON = '{"text": "Grüße, 5 €, 東京 🙂"}'
LATIN = 'Grüße: "zurück"'


def text(content_type: str | None, data: bytes) -> str | None:
    """What a content of this type reads as."""
    itself, other = as_text(content_type, data)
    assert not (itself and other is not None)
    return data.decode() if itself else other


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/plain", WORDS.encode()),
        ("text/plain; charset=utf-8", WORDS.encode()),
        ('Text/Plain; format=flowed; Charset="UTF8"', WORDS.encode()),
        ("text/plain; charset=utf-16", WORDS.encode("utf-16")),
        ("text/plain", codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be")),
        ("text/plain; charset=utf-8", codecs.BOM_UTF16_LE + WORDS.encode("utf-16-le")),
        ("text/plain; charset=UTF-16LE", WORDS.encode("utf-16-le")),
        ("text/plain; charset=utf-16be", WORDS.encode("utf-16-be")),
        ("text/plain;charset=utf-16", WORDS.encode("utf-16-be")),
        ("text/plain;charset=utf-16", WORDS.encode("utf-16-le")),
        ("text/plain", WORDS.encode("utf-32")),
        ("text/plain; charset=utf-32be", WORDS.encode("utf-32-be")),
        ("text/vtt; charset='gb18030'", WORDS.encode("gb18030")),
    ],
)
def test_text_comes_out_in_whatever_charset_it_is(content_type: str, data: bytes) -> None:
    """The type's charset, or the mark in front of it."""
    assert text(content_type, data) == WORDS


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("iso-8859-1", LATIN),
        ("latin1", LATIN),
        ("windows-1252", "“5 €” zurück"),
        ("CP1252", "“5 €” zurück"),
        ("iso-8859-15", "5 €"),
        ("shift_jis", "東京"),
        ("euc-kr", "서울"),
        ("koi8-r", "Москва"),
        ("us-ascii", "plain"),
    ],
)
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/json", "application/vnd.made-up+json"])
def test_a_charset_of_one_region_is_read_as_the_type_names_it(kind: str, charset: str, words: str) -> None:
    """For text and for JSON alike."""
    assert text(f"{kind}; charset={charset}", words.encode(charset)) == words


@pytest.mark.parametrize("kind", ["application/json", "text/json", "application/made-up+json", "application/x-ndjson"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_json_says_itself_in_which_form_of_unicode_it_is(kind: str, codec: str) -> None:
    """Its first characters are ASCII, so zeros tell."""
    assert text(kind, JSON.encode(codec)) == JSON


def test_a_charset_that_servers_name_by_default_does_not_spoil_utf_8() -> None:
    """Bytes that are valid UTF-8 are hardly ever anything else."""
    assert text("text/plain; charset=ISO-8859-1", WORDS.encode()) == WORDS
    assert text("application/json; charset=us-ascii", JSON.encode()) == JSON


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (None, b"text"),
        ("", b"text"),
        ("image/png", b"text"),
        ("application/json-seq-of-nothing", b"{}"),
        ("text/plain", b"\xc3\x28"),
        ("application/json", b'{"a": "\xff"}'),
        ("text/plain; charset=klingon", b"nuqneH"),
        ("text/plain; charset=utf-8", LATIN.encode("latin-1")),
        ("text/plain; charset=utf-16le", b"odd"),
        ("text/plain; charset=utf-16be", b"\xd8\x00a"),
        ("text/plain; charset=us-ascii", b"\xe9"),
        ("text/plain; charset=windows-1252", b"\x81\x8d"),
    ],
)
def test_what_is_not_valid_in_its_charset_is_no_text(content_type: str | None, data: bytes) -> None:
    """Nor is what has an unknown charset, or a type that is no text; nothing is guessed."""
    assert as_text(content_type, data) == (False, None)


@pytest.mark.parametrize(
    "name", ["base64", "zip", "rot13", "unicode_escape", "idna", "utf-7", "undefined", "..", "a" * 9000, "é"]
)
def test_a_codec_that_is_no_charset_is_never_used(name: str) -> None:
    """Python has codecs that unpack and that compute; what a vendor says picks none of them."""
    assert as_text(f"text/plain; charset={name}", b"made up") == (False, None)


@given(
    st.binary(max_size=40),
    st.integers(1, 7),
    st.sampled_from(["text/plain", "text/json; charset=utf-16", "text/a; charset=gbk"]),
)
def test_text_is_text_however_it_is_cut(data: bytes, size: int, content_type: str) -> None:
    """A character may lie across two pieces, and the mark too is read from the beginning of all."""
    pieces: Sequence[bytes] = [data[n : n + size] for n in range(0, len(data), size)]
    cut = codec_of(content_type, lambda: pieces)
    assert cut == codec_of(content_type, lambda: (data,))
    assert cut is None or "".join(codecs.iterdecode(pieces, cut)) == data.decode(cut)


@given(st.text(max_size=40), st.integers(1, 7))
def test_any_utf_8_is_text_only_where_the_type_says_so(words: str, size: int) -> None:
    """Whatever the bytes, an image is none."""
    data = words.encode()
    assert codec_of("text/plain; charset=utf-8", lambda: [data[:size], data[size:]]) == UTF_8
    assert codec_of("image/png", lambda: [data]) is None
