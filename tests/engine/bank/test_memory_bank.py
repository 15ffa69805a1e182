"""A bank's SHA-256: what it judges by, and nothing that a later release added and the bank does not use."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.features.weights import random_backbone
from patchline.engine.recipe import Recipe, Tiling

FIRST_RELEASE = "fc1d521e0fdb5cf70038bcebfebd34afa9ffd965e575cbcb715363c62c065274"
"""Of the bank below, as it was before recipes had any of the options that are left out."""


def small_bank() -> MemoryBank:
    return MemoryBank(
        recipe=Recipe(name="texture", backbone=random_backbone("resnet18", stages=("layer1",), seed=1)),
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
     {"levelling": True}, {"centring": True}, {"patch_stride_px": 16}, {"score_patches": 5}, {"stream_scores": True}]
)  # fmt: skip
def test_options_in_use_change_it(option: dict[str, Any]) -> None:
    """Banks whose recipes differ in an option have different SHA-256."""
    bank = small_bank()
    other = replace(bank, recipe=msgspec.structs.replace(bank.recipe, **option))
    assert other.sha256 != bank.sha256
