"""Recipes: which can be, and what a bank says of one."""

import msgspec
import pytest

from patchline.engine.errors import RecipeError
from patchline.engine.recipe import (
    LATER_OPTIONS,
    LATER_OPTIONS_OF_BACKBONES,
    Recipe,
    Tiling,
    check_projection,
    check_recipe,
    stated,
)
from tests.engine.learning_worlds import RECIPE

PLAIN = Recipe(name="part", backbone=RECIPE.backbone)


def changed(**options: object) -> Recipe:
    return msgspec.structs.replace(PLAIN, **options)


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("coreset_fraction", [0.001, 1.0], [0.0, 1.001]),
        ("neighbours", [1, 2], [0]),
        ("smoothing_sigma", [0.0, 0.1], [-0.1]),
        ("projection", [1, None], [0]),
        ("score_patches", [1, 2], [0]),
        ("patch_stride_px", [1, 224, None], [0, 225]),
        ("row_budget", [1, None], [0]),
        ("admission", [0.5, 1.0], [0.49, 1.01]),
        ("hold_slips", [0.01, 0.99, None], [0.0, 1.0]),
        ("unused_days", [1, None], [0]),
        ("image_size_px", [(32, 32)], [(31, 64), (64, 31)]),
        ("false_reject_rate", [0.001, 0.999], [0.0, 1.0]),
        ("seed", [0, 1], [-1]),
    ],
)
def test_each_option_has_its_range(option: str, good: list[object], bad: list[object]) -> None:
    """Its ends are taken where they can be, and refused by name where they cannot."""
    for value in good:
        check_recipe(changed(**{option: value}))
    for value in bad:
        with pytest.raises(RecipeError, match=f"recipe 'part': {option} is .*, expected "):
            check_recipe(changed(**{option: value}))


@pytest.mark.parametrize("name", ["", " ", "part\n", "b\udcfc"])
def test_a_name_can_be_printed(name: str) -> None:
    """A blank, a line break, or what is no UTF-8 names no recipe: a bank's manifest and every result repeat it."""
    with pytest.raises(RecipeError, match="name is blank or not printable"):
        check_recipe(changed(name=name))
    check_recipe(changed(name="Flasche 7 [klein]"))


def test_a_patch_is_no_wider_than_the_shorter_side() -> None:
    """Strides are compared with the smaller of height and width."""
    check_recipe(changed(image_size_px=(64, 96), patch_stride_px=64))
    with pytest.raises(RecipeError, match="patch_stride_px is 65"):
        check_recipe(changed(image_size_px=(96, 64), patch_stride_px=65))


def test_a_projection_has_no_more_dimensions_than_an_embedding() -> None:
    """As many are taken; without a projection anything is."""
    check_projection(changed(projection=128), 128)
    check_projection(PLAIN, 1)
    with pytest.raises(RecipeError, match="projection is 129, expected at most 128, the dimensions of an embedding"):
        check_projection(changed(projection=129), 128)


def test_a_bank_names_the_options_that_are_in_use() -> None:
    """Later options at their defaults are left out, earlier ones never are, and what is stated reads back."""
    content = stated(PLAIN)
    assert not LATER_OPTIONS & content.keys()
    assert content["seed"] == 0
    assert content["neighbours"] == 9
    for recipe in (PLAIN, changed(tiling=Tiling(), admission=0.7, hold_slips=0.8, levelling=True)):
        assert msgspec.convert(stated(recipe), Recipe) == recipe
    assert LATER_OPTIONS & stated(changed(tiling=Tiling(), admission=0.7)).keys() == {"tiling", "admission"}


def test_a_bank_names_a_precision_that_is_not_float32() -> None:
    """A float32 backbone is stated as before there were others; int8 takes its ranges along, to the last digit."""
    assert not LATER_OPTIONS_OF_BACKBONES & stated(PLAIN)["backbone"].keys()
    ranges = (("conv1", 0.0, 0.1 + 0.2), ("layer1.0.conv1", -1 / 3, 2.0))
    backbone = msgspec.structs.replace(PLAIN.backbone, precision="int8", ranges=ranges)
    content = msgspec.json.encode(stated(changed(backbone=backbone)))
    assert msgspec.json.decode(content, type=Recipe).backbone == backbone
    bfloat16 = changed(backbone=msgspec.structs.replace(PLAIN.backbone, precision="bfloat16"))
    assert LATER_OPTIONS_OF_BACKBONES & stated(bfloat16)["backbone"].keys() == {"precision"}


@pytest.mark.parametrize(
    ("precision", "low", "high"), [("float32", 0.0, 1.0), ("int8", 1.0, 0.0), ("int8", 0.0, float("inf"))]
)
def test_a_range_rises_and_is_of_int8(precision: str, low: float, high: float) -> None:
    """What is no range, or nobody's, is refused with its tensor."""
    backbone = msgspec.structs.replace(PLAIN.backbone, precision=precision, ranges=(("conv1", low, high),))
    with pytest.raises(RecipeError, match=f"the range of 'conv1' is {low:g} to {high:g} with precision {precision}"):
        check_recipe(changed(backbone=backbone))
