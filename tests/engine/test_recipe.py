"""Recipes: which can be, and what a bank says of one."""

import msgspec
import pytest

from patchline.engine.errors import RecipeError, shown
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
        ("neighbours", [1, 2, 2**53], [0, 10**5000]),
        ("smoothing_sigma", [0.0, 0.1, 224.0], [-0.1, 224.1, float("nan"), float("inf")]),
        ("projection", [1, None], [0]),
        ("score_patches", [1, 2], [0]),
        ("patch_stride_px", [1, 224, None], [0, 225]),
        ("row_budget", [1, None], [0]),
        ("admission", [0.5, 1.0], [0.49, 1.01]),
        ("hold_slips", [0.01, 0.99, None], [0.0, 1.0]),
        ("unused_days", [1, None], [0, 10**30]),
        ("image_size_px", [(32, 32), (2**12, 2**13)], [(31, 64), (64, 31), (2**12, 2**13 + 1), (10**400, 64)]),
        ("false_reject_rate", [0.001, 0.999], [0.0, 1.0]),
        ("seed", [0, 1, 2**53], [-1, 2**53 + 1, 10**400]),
        ("least_rows", [0, 2**53], [-1, 10**400]),
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


@pytest.mark.parametrize(
    ("changed_backbone", "says"),
    [
        ({"mean": (0.0, float("nan"), 0.0)}, r"mean is \(0.0, nan, 0.0\), expected finite numbers"),
        ({"std": (1.0, 0.0, 1.0)}, r"std is \(1.0, 0.0, 1.0\), expected finite numbers above 0"),
        ({"std": (1.0, -1.0, 1.0)}, "std is"),
        ({"std": (1.0, float("inf"), 1.0)}, "std is"),
        ({"weights_sha256": ""}, "weights_sha256 is '', expected 64 hexadecimal digits in lower case"),
        ({"weights_sha256": "A" * 64}, "weights_sha256 is 'AAA"),
        ({"weights_sha256": "0" * 64 + "\n"}, "weights_sha256 is '000"),
    ],
)
def test_a_backbone_s_numbers_are_numbers(changed_backbone: dict[str, object], says: str) -> None:
    """No pixel is divided by nothing, and weights are told by a whole sum."""
    backbone = msgspec.structs.replace(PLAIN.backbone, **changed_backbone)
    with pytest.raises(RecipeError, match=f"recipe 'part': {says}"):
        check_recipe(changed(backbone=backbone))


@pytest.mark.parametrize(("tile", "overlap"), [(31, 0), (5793, 0), (64, 33), (64, -1), (10**400, 0)])
def test_a_tile_is_no_larger_than_what_goes_through_at_once(tile: int, overlap: int) -> None:
    """Large frames are cut; the frame itself is bounded as well."""
    check_recipe(changed(image_size_px=(2**13, 2**14), tiling=Tiling(tile_px=5792, overlap_px=2896)))
    with pytest.raises(RecipeError, match=r"image_size_px is .* pixels at most"):
        check_recipe(changed(image_size_px=(2**13, 2**14 + 1), tiling=Tiling()))
    with pytest.raises(RecipeError, match=r"tiling is .* px overlap; expected a tile of 32 to 5792 px"):
        check_recipe(changed(tiling=Tiling(tile_px=tile, overlap_px=overlap)))


def test_what_is_found_is_shown_in_a_line() -> None:
    """Whatever it is: a long text, one of many lines, a number of more digits than Python writes."""
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 79) == "'" + "x" * 78 + "…"
    assert shown(10**5000) == "a int that cannot be written out"
    assert shown((1, 2)) == "(1, 2)"
