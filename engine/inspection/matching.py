"""Whether banks belong together, and to the backbone that shall make what is compared with them."""

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import RecipeError
from patchline.engine.features.tiling import TiledExtractor


def kind_of(bank: MemoryBank) -> tuple[object, ...]:
    """What all generations of a recipe have in common."""
    return bank.recipe, bank.scale, bank.grid, bank.rows.shape[1], bank.folds


def check_shapes(name: str, bank: MemoryBank, extractor: TiledExtractor) -> None:
    """Raise RecipeError where a bank does not hold what its backbone makes: no frame could be compared with it."""
    found, made = (bank.grid, bank.rows.shape[1]), (extractor.grid, extractor.dimensions)
    if found != made:
        raise RecipeError(
            f"recipe {name!r}: the bank has patches on the grid {found[0]} of {found[1]} values each; expected "
            f"{made[0]} and {made[1]}, as backbone {bank.recipe.backbone.name!r} makes them"
        )
