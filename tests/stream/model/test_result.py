from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.types import Verdict
from patchline.stream.model.result import Box, GenerationRef, Result, cell_box, check_zone

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def box(top: int, left: int, height: int, width: int) -> Box:
    return Box(top_px=top, left_px=left, height_px=height, width_px=width)


def test_a_cell_of_the_grid_in_pixels() -> None:
    """Rows divide the height and columns the width; a pixel that a cell covers in part belongs to it."""
    assert cell_box((4, 6), (1, 2), (40, 60)) == box(10, 20, 10, 10)
    assert cell_box((3, 3), (1, 2), (10, 11)) == box(3, 7, 4, 4)
    assert cell_box((3, 3), (0, 0), (10, 11)) == box(0, 0, 4, 4)


def test_cells_around_it_end_with_the_grid() -> None:
    """`around` adds as many cells on each side as there are."""
    assert cell_box((4, 6), (1, 2), (40, 60), 1) == box(0, 10, 30, 30)
    assert cell_box((4, 6), (0, 5), (40, 60), 1) == box(0, 40, 20, 20)
    assert cell_box((4, 6), (3, 0), (40, 60), 2) == box(10, 0, 30, 30)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 99), st.integers(9, 99), st.integers(0, 3))
def test_every_box_lies_on_the_image_and_covers_its_cell(
    rows: int, columns: int, height: int, width: int, around: int
) -> None:
    """Boxes of all cells together cover the image, and none leaves it."""
    for row in range(rows):
        for column in range(columns):
            found = cell_box((rows, columns), (row, column), (height, width), around)
            assert 0 <= found.top_px <= row * height / rows
            assert 0 <= found.left_px <= column * width / columns
            assert (row + 1) * height / rows <= found.top_px + found.height_px <= height
            assert (column + 1) * width / columns <= found.left_px + found.width_px <= width


def test_times_have_a_zone_that_utc_can_tell() -> None:
    """A time without a zone, or one that leaves the calendar in UTC, is refused by its name."""
    check_zone("time", NOW)
    check_zone("time", datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=14))))
    with pytest.raises(ValueError, match=r"^time is 2026-01-01T00:00:00, expected a time zone$"):
        check_zone("time", datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="between the years 1 and 9999 UTC"):
        check_zone("time", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))


@pytest.mark.parametrize("name", ["time", "inspected_at"])
def test_a_result_has_no_time_without_a_zone(name: str) -> None:
    """Both of its times are checked."""
    fields: dict[str, Any] = {"time": NOW, "inspected_at": NOW, name: datetime(2026, 1, 1)}
    with pytest.raises(ValueError, match=f"^{name} is"):
        Result(frame_id="f", camera="c", recipe="r", verdict=Verdict.PASS, latency_ms=1.0, **fields)


@pytest.mark.parametrize(("number", "good"), [(1, True), (0, False), (2**53 - 1, True), (2**53, False)])
def test_a_generations_number_is_one_that_every_reader_of_json_holds(number: int, good: bool) -> None:
    """Numbers begin with 1 and stay below 2^53."""
    text = msgspec.json.encode({"number": number, "sha256": "a" * 64})
    if good:
        assert msgspec.json.decode(text, type=GenerationRef).number == number
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=GenerationRef)


def test_a_result_says_only_what_there_is_to_say() -> None:
    """Without a score, a reason or lateness it has none, and its JSON leaves them out."""
    made = Result(
        frame_id="f", camera="c", recipe="r", time=NOW, inspected_at=NOW, verdict=Verdict.PASS, latency_ms=1.0
    )
    assert (made.score, made.threshold, made.generation, made.worst, made.reason, made.detail) == (None,) * 6
    assert made.late is False
    assert set(msgspec.json.decode(msgspec.json.encode(made))) == {
        *("frame_id", "camera", "recipe", "time", "inspected_at", "verdict", "latency_ms"),
    }
