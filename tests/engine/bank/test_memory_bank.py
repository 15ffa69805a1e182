"""A bank's SHA-256: what it judges by, and nothing that a later release added and the bank does not use."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.memory_bank import FrameChange, FrameOrigin, MemoryBank, SetAside, difference
from patchline.engine.errors import EngineError
from patchline.engine.features.weights import random_backbone
from patchline.engine.recipe import Recipe, Tiling

FIRST_RELEASE = "fc1d521e0fdb5cf70038bcebfebd34afa9ffd965e575cbcb715363c62c065274"
"""Of the bank below, as it was before recipes had any of the options that are left out."""


def small_bank() -> MemoryBank:
    return MemoryBank(
        recipe=Recipe(
            name="texture",
            backbone=random_backbone("resnet18", stages=("layer1",), seed=1),
            false_reject_rate=0.01,
        ),
        generation=1,
        rows=np.arange(12, dtype=np.int16).reshape(4, 3),
        scale=0.5,
        frames=(FrameOrigin(name="good"),),
        row_frame=np.zeros(4, dtype=np.int32),
        row_patch=np.arange(4, dtype=np.int32),
        grid=(2, 2),
        covering_radius=1.5,
        calibration=calibrate(np.linspace(1, 2, 100), 0.01),
    )


def test_options_at_their_defaults_leave_it_as_it_was() -> None:
    """A bank that an earlier release made has the SHA-256 that its manifest states."""
    assert small_bank().sha256 == FIRST_RELEASE


@pytest.mark.parametrize(
    "option", [{"tiling": Tiling()}, {"row_budget": 500}, {"admission": 0.7}, {"unused_days": 30}, {"hold_slips": 0.8},
     {"levelling": True}, {"centring": True}, {"patch_stride_px": 16}, {"score_patches": 5}, {"least_rows": 99},
     {"stream_scores": True}]
)  # fmt: skip
def test_options_in_use_change_it(option: dict[str, Any]) -> None:
    """Banks whose recipes differ in an option have different SHA-256."""
    bank = small_bank()
    other = replace(bank, recipe=msgspec.structs.replace(bank.recipe, **option))
    assert other.sha256 != bank.sha256


def test_a_row_names_its_frame_and_patch() -> None:
    """Provenance is by the row's own numbers; values are the integers times the scale."""
    bank = replace(
        small_bank(),
        frames=(FrameOrigin(name="a"), FrameOrigin(name="b", generation=2)),
        row_frame=np.array([0, 1, 1, 0], dtype=np.int32),
        row_patch=np.array([3, 0, 2, 1], dtype=np.int32),
    )
    assert [bank.provenance(row) for row in range(4)] == [("a", 3), ("b", 0), ("b", 2), ("a", 1)]
    assert bank.values().tolist() == (np.arange(12).reshape(4, 3) / 2).tolist()
    assert bank.threshold == bank.calibration.threshold


@pytest.mark.parametrize(
    "change",
    [{"generation": 2}, {"created": "2026-01-01"}, {"frames": (FrameOrigin(name="good", generation=3),)},
     {"calibration_patches": (("held out", np.zeros((4, 3), np.int16)),)}]
)  # fmt: skip
def test_what_a_bank_does_not_judge_by_leaves_its_sum(change: dict[str, Any]) -> None:
    """Numbers of generations, times, and what waits to be stored are not part of it."""
    assert replace(small_bank(), **change).sha256 == small_bank().sha256


@pytest.mark.parametrize(
    "change",
    [{"rows": np.arange(1, 13, dtype=np.int16).reshape(4, 3)}, {"scale": 0.25}, {"covering_radius": 1.25},
     {"frames": (FrameOrigin(name="other"),)}, {"row_patch": np.array([0, 1, 3, 2], np.int32)}, {"grid": (4, 1)},
     {"frames": (FrameOrigin(name="good"), FrameOrigin(name="b"))},
     {"calibration": calibrate(np.linspace(1, 2, 100), 0.02)}, {"calibration": calibrate(np.linspace(1, 3, 100), 0.01)}]
)  # fmt: skip
def test_what_a_bank_judges_by_changes_its_sum(change: dict[str, Any]) -> None:
    """Rows, scale, radius, provenance, grid, rate and scores are."""
    assert replace(small_bank(), **change).sha256 != small_bank().sha256


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": np.zeros((4, 3), np.int32)}, r"rows must be int16 \(M, D\), .* found int32 \(4, 3\)"),
        ({"rows": np.zeros(4, np.int16)}, r"rows must be .* found int16 \(4,\)"),
        ({"rows": np.zeros((4, 0), np.int16)}, r"rows must be .*, neither of them 0, found int16 \(4, 0\)"),
        ({"row_frame": np.zeros(3, np.int32)}, r"row_frame must be int32 \(4,\), found int32 \(3,\)"),
        ({"row_patch": np.zeros(4, np.int64)}, r"row_patch must be int32 \(4,\), found int64 \(4,\)"),
        ({"row_frame": np.array([0, 0, 0, 1], np.int32)}, "row_frame must name one of 1 frames"),
        ({"row_frame": np.array([0, 0, 0, -1], np.int32)}, "row_frame must name one of 1 frames"),
        ({"row_patch": np.array([0, 0, 0, 4], np.int32)}, r"row_patch must lie on the grid \(2, 2\)"),
        ({"row_patch": np.array([0, 0, 0, -1], np.int32)}, r"row_patch must lie on the grid \(2, 2\)"),
        ({"generation": 0}, "generation must be 1 or more, found 0"),
        ({"grid": (0, 4)}, r"grid must be \(h, w\), 1 or more each and at most the image's size, found \(0, 4\)"),
        ({"grid": (1, 225)}, r"grid must be .*, found \(1, 225\)"),
        ({"scale": 0.0}, r"scale must be a power of two from 2\^-100 to 2\^37, found 0.0"),
        ({"scale": 0.3}, "scale must be a power of two .*, found 0.3"),
        ({"scale": -0.5}, "scale must be .*, found -0.5"),
        ({"scale": float("nan")}, "scale must be .*, found nan"),
        ({"scale": 2.0**38}, "scale must be .*, found 274877906944.0"),
        ({"scale": 2.0**-101}, "scale must be .*, found 3.9"),
        ({"covering_radius": -1.0}, "covering_radius must be 0 or more, .* found -1.0"),
        ({"covering_radius": float("nan")}, "covering_radius must be .* found nan"),
        ({"covering_radius": 2.0**45}, "covering_radius must be .*at most 2.45 of the scale, found 3518"),
        ({"fold_radius": float("inf")}, "fold_radius must be .* found inf"),
        ({"folds": 10_001}, "folds must be 1 to 10,000, .* found 10001"),
        ({"folds": 2, "calibration_folds": (0,)}, "calibration_folds must be one for each of 100 .*, found 1"),
        ({"calibration_folds": (1,) * 100}, "calibration_folds must be 0 or more, less than 1, found 1"),
        ({"calibration_groups": (-1,) * 100}, "calibration_groups must be 0 or more, .* found -1"),
        ({"set_aside": (SetAside(name="x", group=1, counts=True),)}, "1 groups that were set aside count, .* counts 0"),
        ({"set_aside": (SetAside(name="x", group=-1, counts=False),)}, "the group of what was set aside .* found -1"),
    ],
)
def test_a_bank_that_contradicts_itself_is_refused(change: dict[str, Any], says: str) -> None:
    """By the recipe's name, with what was found and what was expected."""
    with pytest.raises(EngineError, match=f"memory bank of recipe 'texture': {says}"):
        replace(small_bank(), **change)


def test_the_ends_of_ranges_are_taken() -> None:
    """The smallest and the largest scale, a radius of 0, a threshold of 0; a later generation has fewer to count."""
    for scale in (2.0**-100, 2.0**37):
        assert replace(small_bank(), scale=scale, covering_radius=0.0, fold_radius=0.0).scale == scale
    assert replace(small_bank(), calibration=calibrate(np.zeros(100), 0.01)).threshold == 0
    assert replace(small_bank(), generation=2, calibration_groups=(1,)).generation == 2
    with pytest.raises(EngineError, match=r"threshold must be 0 or more, found -1\.0"):
        replace(small_bank(), calibration=calibrate(np.full(100, -1.0), 0.01))


def test_its_arrays_cannot_be_changed() -> None:
    """A generation never changes: rows, provenance and scores are read-only."""
    bank = small_bank()
    for array in (bank.rows, bank.row_frame, bank.row_patch, bank.calibration.scores):
        assert not array.flags.writeable


def test_what_is_promised_depends_on_what_was_learned() -> None:
    """A first generation promises its rate; a later one of a recipe that follows the stream promises nothing."""
    first = small_bank()
    following = replace(first, recipe=msgspec.structs.replace(first.recipe, stream_scores=True))
    for bank in (first, replace(first, generation=2), following):
        assert bank.promise == first.calibration.promise()
    assert replace(following, generation=2).promise == first.calibration.promise(follows_stream=True)
    assert "promises nothing" in replace(following, generation=2).promise


def test_a_difference_counts_rows_by_frame() -> None:
    """A row is its frame, patch and values: one with other values counts as gone and as new; no change, no entry."""
    before = replace(
        small_bank(),
        frames=(FrameOrigin(name="a"), FrameOrigin(name="b"), FrameOrigin(name="c")),
        row_frame=np.array([0, 0, 1, 2], dtype=np.int32),
    )
    rows = np.concatenate([before.rows[1:], np.full((2, 3), 99, np.int16)])
    rows[1] += 1
    after = replace(
        before,
        generation=2,
        rows=rows,
        frames=(FrameOrigin(name="a"), FrameOrigin(name="b"), FrameOrigin(name="c"), FrameOrigin(name="d")),
        row_frame=np.array([0, 1, 2, 3, 3], dtype=np.int32),
        row_patch=np.array([1, 2, 3, 0, 1], dtype=np.int32),
    )
    assert difference(before, after) == (
        FrameChange("a", added=0, removed=1),
        FrameChange("b", added=1, removed=1),
        FrameChange("d", added=2, removed=0),
    )
    assert difference(before, before) == ()
