"""Whose feedback a record is: what is signed is somebody's, and nothing else."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import Feedback, FeedbackVerdict
from patchline.stream.model.identity import Identity, Role
from patchline.stream.wire.feedback import feedback_record
from patchline.stream.wire.signatures import SIGNATURE, SIGNER, FeedbackKeys, SigningKey

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def key(name: str, *roles: Role) -> SigningKey:
    return SigningKey(Identity(name, frozenset(roles)), hashlib.sha256(name.encode()).digest())


KEYS = {
    "ada": key("ada", Role.OPERATOR),
    "kim": key("kim", Role.ENGINEER),
    "line-3": key("line-3", Role.WORKER),
    "eye": key("eye", Role.VIEWER),
}


def feedback(**more: Any) -> Feedback:
    given: dict[str, Any] = {"feedback_id": "1", "recipe": "plate", "frame_id": "f", "operator": "ada", "time": NOW}
    return Feedback(**(given | {"verdict": FeedbackVerdict.CONFIRM_GOOD} | more))


def keys(sign_with: str | None = None, **more: Any) -> FeedbackKeys:
    return FeedbackKeys(KEYS, sign_with=sign_with, **more)


def test_what_a_key_signs_is_its_identitys() -> None:
    """Whatever the operator's name; a worker's key says whose it is, or that nobody knows."""
    for name in ("ada", "kim"):
        _, value, headers = keys(name).write(feedback(operator="somebody"))
        assert keys().read(headers, value) == feedback(operator="somebody", identity=name)
    for whose in ("tablet-1", None):
        _, value, headers = keys("line-3").write(feedback(identity=whose))
        assert keys().read(headers, value) == feedback(identity=whose)


def test_without_a_key_of_ones_own_an_identity_is_left_out() -> None:
    """Nobody could tell that it is true; the record is as ever."""
    record = keys().write(feedback(identity="ada"))
    assert record == feedback_record(feedback())
    assert keys().read(record[2], record[1]).identity is None


def test_a_signature_is_made_as_the_page_says() -> None:
    """Whoever writes to Kafka without this package makes the same one."""
    _, value, headers = keys("ada").write(feedback(feedback_id="caf\N{LATIN SMALL LETTER E WITH ACUTE}"))
    parts = [b"ada", b"io.patchline.feedback.v1", "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), value]
    text = b"".join(str(len(part)).encode() + b":" + part for part in parts)
    expected = hmac.new(KEYS["ada"].secret, text, "sha256").hexdigest()
    assert dict(headers)[SIGNER] == b"ada"
    assert dict(headers)[SIGNATURE] == f"hmac-sha256={expected}".encode()


def with_header(headers: list[tuple[str, bytes]], name: str, value: bytes | None) -> list[tuple[str, bytes]]:
    others = [header for header in headers if header[0] != name]
    return others if value is None else [*others, (name, value)]


def test_what_is_changed_or_unknown_is_refused() -> None:
    """The value, the id, the key's name, the signature or its kind; the message says what is not as it should be."""
    _, value, headers = keys("ada").write(feedback())
    signature = dict(headers)[SIGNATURE]
    wrong = {
        "value": (headers, value.replace(b"confirm_good", b"unlearn")),
        "id": (with_header(headers, "ce_id", b"2"), value),
        "signer": (with_header(headers, SIGNER, b"kim"), value),
        "signature": (with_header(headers, SIGNATURE, signature[:-1] + b"0" * (signature[-1:] != b"0") + b"1"), value),
        "kind": (with_header(headers, SIGNATURE, signature.replace(b"hmac-sha256", b"none")), value),
        "none": (with_header(headers, SIGNATURE, None), value),
        "not ascii": (with_header(headers, SIGNATURE, "hmac-sha256=\N{SNOWMAN}".encode()), value),
    }
    for given, text in wrong.values():
        with pytest.raises(RecordError, match=r"ce_signature is not that of the key"):
            keys().read(given, text)
    with pytest.raises(RecordError, match=r"ce_signer is 'bob', expected the name of a key"):
        keys().read(with_header(headers, SIGNER, b"bob"), value)
    with pytest.raises(RecordError, match=r"ce_signer is missing, and there is a signature"):
        keys().read(with_header(headers, SIGNER, None), value)


def test_nobody_gives_feedback_in_anothers_name() -> None:
    """Neither unsigned, nor with a key of one's own; and a viewer's key gives none at all."""
    _, value, headers = feedback_record(feedback(identity="kim"))
    with pytest.raises(RecordError, match=r"identity is 'kim' without a signature"):
        keys().read(headers, value)
    _, value, headers = keys("ada").write(feedback(identity="kim"))
    with pytest.raises(RecordError, match=r"identity is 'kim', expected 'ada'"):
        keys().read(headers, value)
    _, value, headers = keys("eye").write(feedback())
    with pytest.raises(RecordError, match=r"'eye' may not give feedback"):
        keys().read(headers, value)


def test_unsigned_feedback_may_be_refused() -> None:
    """Where the settings say so; otherwise it is taken, as somebody's."""
    _, value, headers = feedback_record(feedback())
    assert keys().read(headers, value) == feedback()
    with pytest.raises(RecordError, match="expected feedback that is signed"):
        keys(unsigned_learns=False).read(headers, value)


def test_keys_are_not_printed() -> None:
    """Neither alone nor among others."""
    assert repr(KEYS["ada"].secret) not in repr(keys("ada"))
    assert msgspec.structs.replace(feedback(), identity="x").identity == "x"
