"""Sizes, tiles and shares as a person writes them."""

import os
from pathlib import Path

import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline.fit_options import check_folder_to_be, check_numbers, parse_size, tiles


@pytest.mark.parametrize(("text", "size_px"), [("224", (224, 224)), ("320x224", (320, 224)), ("32X4096", (32, 4096))])
def test_a_size_is_one_number_or_height_by_width(text: str, size_px: tuple[int, int]) -> None:
    """H before W."""
    assert parse_size(text) == size_px


@pytest.mark.parametrize("text", ["", "x", "31", "4097", "224x", "224x224x3", "-224", "2.5", "²²⁴", "big"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message has what was found and what is expected."""
    with pytest.raises(InputError, match=r"^--size: .*; expected pixels from 32 to 4096"):
        parse_size(text)


def test_tiles_share_a_quarter_unless_told() -> None:
    """Without --tile there are none, and nothing to overlap."""
    assert tiles(None, None) is None
    made = tiles(512, None)
    assert made is not None
    assert (made.tile_px, made.overlap_px) == (512, 128)
    for tile, overlap, told in ((None, 8, "--overlap: 8; tiles overlap"), (16, None, "--tile: 16"), (512, 257, "256")):
        with pytest.raises(InputError, match=told):
            tiles(tile, overlap)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((0.0, 0, None, 0.05), "--coreset: 0;"),
        ((1.5, 0, None, 0.05), "--coreset: 1.5;"),
        ((0.01, -1, None, 0.05), "--least-rows: -1;"),
        ((0.01, 0, 0, 0.05), "--projection: 0;"),
        ((0.01, 0, None, 1.0), "--false-reject-rate: 1;"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: tuple[float, int, int | None, float], told: str) -> None:
    """By the option's name; the whole of the patches is a coreset too."""
    check_numbers(1.0, 0, None, 0.05)
    with pytest.raises(InputError, match=told):
        check_numbers(*numbers)


def test_a_folder_that_can_be_made_is_taken_and_not_made(tmp_path: Path) -> None:
    """Also one that is there, and one several folders deep."""
    check_folder_to_be(tmp_path, "--out")
    check_folder_to_be(tmp_path / "a" / "b", "--out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place or above it, a name that is too long, and a folder that may not be written."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=r"^--out: .*file is a file; expected a folder, or a name for a new one$"):
        check_folder_to_be(file, "--out")
    with pytest.raises(InputError, match=r"^--out: .*bank cannot be made: .*file is a file; expected a folder there$"):
        check_folder_to_be(file / "banks" / "bank", "--out")
    with pytest.raises(InputError, match=r"^--out: .* cannot be made: File name too long$"):
        check_folder_to_be(tmp_path / ("x" * 300), "--out")
    monkeypatch.setattr(os, "access", lambda place, _: place != tmp_path)
    with pytest.raises(InputError, match=r"^--out: .* cannot be written; expected one that this user may "):
        check_folder_to_be(tmp_path / "new", "--out")
