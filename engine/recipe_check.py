"""What a recipe may ask of a fit."""

from patchline.engine.errors import RecipeError
from patchline.engine.recipe import Recipe


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError where a recipe asks for what cannot be, whatever its backbone."""
    name = f"recipe {recipe.name!r}"
    if not 0 < recipe.coreset_fraction <= 1:
        raise RecipeError(f"{name}: coreset_fraction is {recipe.coreset_fraction:g}, expected more than 0, at most 1")
    if recipe.neighbours < 1:
        raise RecipeError(f"{name}: neighbours is {recipe.neighbours}, expected 1 or more")
    if recipe.smoothing_sigma < 0:
        raise RecipeError(f"{name}: smoothing_sigma is {recipe.smoothing_sigma:g}, expected 0 or more")
    if recipe.projection is not None and recipe.projection < 1:
        raise RecipeError(f"{name}: projection is {recipe.projection}, expected 1 or more")
    if recipe.score_patches < 1:
        raise RecipeError(f"{name}: score_patches is {recipe.score_patches}, expected 1 or more")
    if recipe.patch_stride_px is not None and not 1 <= recipe.patch_stride_px <= min(recipe.image_size_px):
        raise RecipeError(f"{name}: patch_stride_px is {recipe.patch_stride_px}, expected 1 px to the image's size")
    if recipe.row_budget is not None and recipe.row_budget < 1:
        raise RecipeError(f"{name}: row_budget is {recipe.row_budget}, expected 1 or more")
    if not 0.5 <= recipe.admission <= 1:
        raise RecipeError(f"{name}: admission is {recipe.admission:g}, expected 0.5 to 1")
    if recipe.hold_slips is not None and not 0 < recipe.hold_slips < 1:
        raise RecipeError(f"{name}: hold_slips is {recipe.hold_slips:g}, expected between 0 and 1")
    if recipe.unused_days is not None and recipe.unused_days < 1:
        raise RecipeError(f"{name}: unused_days is {recipe.unused_days}, expected 1 or more")
    if min(recipe.image_size_px) < 32:
        raise RecipeError(f"{name}: image_size_px is {recipe.image_size_px}, expected (H, W) of 32 or more each")
    if not 0 < recipe.false_reject_rate < 1:
        raise RecipeError(f"{name}: false_reject_rate is {recipe.false_reject_rate:g}, expected between 0 and 1")


def check_projection(recipe: Recipe, dimensions: int) -> None:
    """Raise RecipeError where a recipe projects embeddings of `dimensions` values to more of them."""
    if recipe.projection is not None and recipe.projection > dimensions:
        raise RecipeError(
            f"recipe {recipe.name!r}: projection is {recipe.projection}, "
            f"expected at most {dimensions}, the dimensions of an embedding"
        )
