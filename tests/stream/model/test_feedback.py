from datetime import UTC, datetime
from typing import Any

import pytest

from patchline.stream.model.feedback import Feedback, FeedbackVerdict, GenerationAnnounced
from patchline.stream.model.result import GenerationRef

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def feedback(**more: Any) -> Feedback:
    fields: dict[str, Any] = {"feedback_id": "1", "recipe": "plate", "frame_id": "f", "operator": "ada", "time": NOW}
    return Feedback(verdict=FeedbackVerdict.CONFIRM_GOOD, **(fields | more))


@pytest.mark.parametrize("name", ["feedback_id", "recipe", "frame_id", "operator"])
def test_names_in_feedback_have_something_and_not_too_much(name: str) -> None:
    """1 and 1024 characters are taken; nothing, blanks and 1025 are refused by name."""
    for good in ("x", "x" * 1024):
        assert getattr(feedback(**{name: good}), name) == good
    for bad in ("", "  ", "x" * 1025):
        with pytest.raises(ValueError, match=rf"^{name} is .*, expected 1 to 1024 characters$"):
            feedback(**{name: bad})


def test_reasons_and_second_persons_are_bounded() -> None:
    """A reason becomes part of a bank's history for ever; it is refused without being repeated."""
    assert feedback(reason="x" * 2000).reason
    with pytest.raises(ValueError, match=r"^reason has 5,000,000 characters, expected at most 2,000$"):
        feedback(reason="x" * 5_000_000)
    with pytest.raises(ValueError, match=r"^approved_by is .{60,90}, expected 1 to 1024 characters$"):
        feedback(approved_by="x" * 200_000)
    with pytest.raises(ValueError, match=r"^operator is 'x{40}'\.\.\. of 200,000 characters, expected"):
        feedback(operator="x" * 200_000)


def test_names_and_reasons_are_text() -> None:
    """Bytes of a command line that are no UTF-8 come as lone surrogates, and no message can carry them."""
    for name in ("feedback_id", "recipe", "frame_id", "operator", "approved_by"):
        with pytest.raises(ValueError, match=rf"^{name} is 'caf\\udce9', expected UTF-8$"):
            feedback(**{name: "caf\udce9"})
    with pytest.raises(ValueError, match=r"^reason has bytes that are no text, expected UTF-8$"):
        feedback(reason="caf\udce9")
    assert feedback(operator="caf\N{LATIN SMALL LETTER E WITH ACUTE}").operator


def test_a_second_person_is_another_one() -> None:
    """Nobody lets through what they said themselves; an empty name is nobody."""
    assert feedback(approved_by="bob").approved_by == "bob"
    assert feedback().approved_by is None
    for bad in ("ada", ""):
        with pytest.raises(ValueError, match="expected a person other than operator"):
            feedback(approved_by=bad)


def test_the_hash_of_an_image_is_64_digits() -> None:
    """In either case, and nothing else."""
    for good in ("0" * 64, "aF" * 32, None):
        assert feedback(image_sha256=good).image_sha256 == good
    for bad in ("", "0" * 63, "0" * 65, "g" * 64, "0" * 63 + "\n"):
        with pytest.raises(ValueError, match=r"^image_sha256 is .*expected 64 hexadecimal digits$"):
            feedback(image_sha256=bad)


def test_an_identity_has_a_name() -> None:
    """Of 1 to 128 characters, where there is one."""
    for good in ("a", "a" * 128, None):
        assert feedback(identity=good).identity == good
    for bad in ("", "a" * 129):
        with pytest.raises(ValueError, match=r"^identity is .*expected 1 to 128 characters$"):
            feedback(identity=bad)


def test_times_have_a_zone() -> None:
    """Feedback and announcements without one are refused."""
    with pytest.raises(ValueError, match=r"^time is .*expected a time zone"):
        feedback(time=datetime(2026, 1, 1))
    generation = GenerationRef(number=1, sha256="a" * 64)
    with pytest.raises(ValueError, match=r"^time is .*expected a time zone"):
        GenerationAnnounced(recipe="r", generation=generation, rows=1, threshold=1.0, time=datetime(2026, 1, 1))
