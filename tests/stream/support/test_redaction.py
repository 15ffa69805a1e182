"""Credentials stay out of everything that is written."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.stream.support.redaction import (
    LONGEST_CHARACTERS,
    LONGEST_READ_CHARACTERS,
    MASK,
    MOST_ENTRIES,
    Redactor,
    redact_text,
    redact_url,
    secrets_of_url,
)

letters = st.characters(min_codepoint=48, max_codepoint=122, exclude_characters=":;<=>?@[\\]^_`")
word = st.text(letters, min_size=4)
secret = st.text(st.characters(exclude_characters="\n*", exclude_categories=["Cs"]), min_size=1, max_size=20).map(
    lambda text: f"8ecret{text}8ecret"  # so that no part of it stands elsewhere by chance
)
words = st.text(st.characters(exclude_characters="\n8", exclude_categories=["Cs"]), max_size=30)


@given(word, word, word)
def test_urls_lose_their_login(user: str, password: str, rest: str) -> None:
    """User and password of any URL are gone from it and from text around it; host and path stay."""
    url = f"rtsp://{user}-u:{password}-p@camera.example/{rest}"
    for shown in (redact_url(url), redact_text(f"cannot open {url}, trying again")):
        assert f"{user}-u" not in shown
        assert f"{password}-p" not in shown
        assert f"camera.example/{rest}" in shown


@settings(max_examples=300)
@given(secret, words, words, st.sampled_from(["rtsp", "redis", "s3", "x+y"]), st.booleans())
def test_no_login_of_a_url_survives_in_any_message(
    password: str, before: str, after: str, scheme: str, quoted: bool
) -> None:
    """Whatever a password has in it (quotes, blanks, brackets, @, slashes, another ://), and whatever is around it."""
    url = f"{scheme}://{'' if quoted else 'admin'}:{password}@camera/1"
    for shown in (
        redact_url(url),
        redact_text(f"{before}{url}{after}"),
        redact_text(f"{before}{url!r}{after}"),
        redact_text(f"first line\n{before} {redact_url(url)} {url}{after}\nlast line"),
        redact_text(f"{before}{url}{after} and {url}"),
    ):
        assert "8ecret" not in shown
    assert redact_text(f"first line\n{url}\nlast line").startswith("first line\n")
    assert redact_text(f"first line\n{url}\nlast line").endswith("\nlast line")


@settings(max_examples=300)
@given(secret.filter(lambda text: "&" not in text), words, words, st.sampled_from(["password", "PWD", "token", "sig"]))
def test_no_login_in_a_path_or_query_survives_in_any_message(
    password: str, before: str, after: str, field: str
) -> None:
    """Such as cameras and object stores take."""
    for url in (f"rtsp://h/user=a&{field}={password}&channel=1", f"rtsp://h/1?{field}={password}"):
        for shown in (redact_url(url), redact_text(f"{before}{url}{after}"), redact_text(f"{before}{url!r}{after}")):
            assert "8ecret" not in shown
    assert password in secrets_of_url(f"rtsp://h/user=a&{field}={password}&channel=1")


@given(st.lists(st.sampled_from([*"a:/@*?=& \n'", "://", "password=", "***@"]), max_size=40).map("".join))
def test_what_is_masked_stays_as_it_is(text: str) -> None:
    """A message passes several hands, and each may mask it."""
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "://",
        "http://a",
        "://***@",
        "***@",
        "@",
        "password=",
        "password=***",
        "user=x ",
        "a-",
        "=",
        "://user=",
        "\n://",
    ],
)
def test_it_takes_a_time_that_is_linear_in_the_text(piece: str) -> None:
    """A million characters take less than a fifth of a second, of whatever they are."""
    redactor = Redactor()
    redactor.know(["hunter22", "://***@", "password"])
    text = piece * (10**6 // len(piece))
    for mask in (redact_text, redact_url, redactor.text):
        before = time.thread_time()
        mask(text[:LONGEST_READ_CHARACTERS] if mask is redact_url else text)
        assert time.thread_time() - before < 0.2


def test_a_text_is_shortened_once_it_is_masked() -> None:
    """Neither where it is shortened nor where nobody looks any further is a secret cut in two."""
    redactor = Redactor()
    redactor.know(["hunter22-hunter22"])
    for position in (
        *range(LONGEST_CHARACTERS // 2 - 20, LONGEST_CHARACTERS // 2 + 3),
        *range(LONGEST_READ_CHARACTERS - 20, LONGEST_READ_CHARACTERS + 3),
    ):
        for hidden in ("hunter22-hunter22", "rtsp://u:pa55@h"):
            text = "x" * position + hidden + "y" * 100_000
            for shown in (redactor.text(text), redact_text(text) if "@" in hidden else ""):
                assert len(shown) < LONGEST_CHARACTERS + 100
                assert "hunt" not in shown
                assert "pa55" not in shown
                assert "u:" not in shown
    many = redactor.text("hunter22-hunter22" * 10_000)
    assert "h" not in many.replace("characters or more left out", "")
    assert redactor.value(["x"] * (MOST_ENTRIES + 1_000)) == ["x"] * MOST_ENTRIES + ["... 1,000 more"]
    assert redactor.value(dict.fromkeys(range(MOST_ENTRIES + 1)))["..."] == "1 more"
    deep: object = "hunter22-hunter22"
    for _ in range(50):
        deep = [deep]
    assert "hunt" not in str(redactor.value(deep))


def test_a_url_loses_its_whole_query() -> None:
    """What stands behind the question mark is masked as one, whatever it says; without one nothing is added."""
    assert redact_url("rtsp://admin:1234@cam/1?key=x&more=y") == "rtsp://***@cam/1?***"
    assert redact_url("s3://bucket/frame.png?") == "s3://bucket/frame.png?***"
    assert redact_url("s3://bucket/frame.png") == "s3://bucket/frame.png"
    assert redact_text("see https://host/a?page=2") == "see https://host/a?page=2"


def test_too_much_is_masked_rather_than_too_little() -> None:
    """A login ends at the last @ of the line, whatever that belongs to; unless it was masked as one before."""
    assert redact_text("cannot open 'redis://u:p@ss@host/0'") == "cannot open 'redis://***@host/0'"
    assert redact_text("cannot open 'redis://u:p@ss@host/0' and 'x@y'") == "cannot open 'redis://***@y'"
    where = redact_url("redis://u:p@ss@host/0")
    assert redact_text(f"cannot open '{where}' and 'x@y'") == "cannot open 'redis://***@host/0' and 'x@y'"
    assert redact_text("user=admin, db=0") == "user=***, db=0"


def test_logins_in_paths_and_queries_are_masked() -> None:
    """Some cameras take the login as fields of the address."""
    for url in ("rtsp://h/user=admin&password=1234&channel=1", "rtsp://h/1?user=admin&pwd=1234"):
        assert "1234" not in redact_text(url)
        assert "admin" not in redact_text(url)
    assert redact_text("rtsp://h/USER=a&Api_Key=b&channel=1") == "rtsp://h/USER=***&Api_Key=***&channel=1"


def test_known_secrets_are_masked_by_value() -> None:
    """Wherever a known secret stands it is masked, the longer one first; what is shorter than 4 characters stays."""
    redactor = Redactor()
    redactor.know(["pass", "passphrase"])
    redactor.know(["abc", "hunter22"])
    assert redactor.text("passphrase, pass, hunter22, abc") == f"{MASK}, {MASK}, {MASK}, abc"
    assert redactor.text("redis://u:p@host") == "redis://***@host"


def test_values_of_a_log_are_masked_inside_their_containers() -> None:
    """Strings, keys and items are masked; numbers, None and objects that hide nothing are handed on as they are."""
    redactor = Redactor()
    redactor.know(["hunter22"])
    harmless, telling = object(), ValueError("hunter22")
    assert redactor.value({"hunter22": ["hunter22", 1, None], "t": ("hunter22",)}) == {
        MASK: [MASK, 1, None],
        "t": [MASK],
    }
    assert redactor.value({"hunter22"}) == [MASK]
    assert redactor.value(frozenset({"hunter22"})) == [MASK]
    for plain in (None, True, 2, 2.5, harmless):
        assert redactor.value(plain) is plain
    assert redactor.value(telling) == MASK


@pytest.mark.parametrize("most", [100, 2_000, 20_000])
def test_a_value_is_as_long_as_it_is_asked_for(most: int) -> None:
    """Of texts, keys and objects the middle is left out, and no secret is cut in two on the way."""
    redactor = Redactor()
    redactor.know(["hunter22"])
    text = "a" * (most // 2 - 4) + "hunter22" + "b" * most + "hunter22" + "c" * (most // 2 - 4)
    shown = [redactor.value(text, most), *redactor.value({text: [text]}, most), redactor.value(ValueError(text), most)]
    for one in shown:
        assert len(one) < most + 60
        assert (one[:5], one[-5:]) == ("aaaaa", "ccccc")
        assert "characters or more left out" in one
        assert "hunt" not in one
        assert "22" not in one.replace(",", "")
