"""An inspector with one bank, for the commands that judge files."""

from typing import TYPE_CHECKING, cast

from patchline.ops.commands._backbone import Precision, Runtime
from patchline.ops.errors import InputError

if TYPE_CHECKING:
    from patchline.engine.inspection.inspector import Inspector
    from patchline.engine.search.factory import SearchKind

SEARCHES = ("auto", "faiss", "torch", "pruned")


def open_inspector(
    bank: str,
    *,
    generation: int | None = None,
    device: str = "auto",
    search: str = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
) -> "tuple[Inspector, str]":
    """An inspector with the bank in a folder, and the name of its recipe; raises BankFileError and the like."""
    if search not in SEARCHES:
        raise InputError(f"--search: {search!r}; expected {', '.join(SEARCHES)}")
    from patchline.engine.bank.store import load_bank

    loaded = load_bank(bank, generation)

    from patchline.engine.inspection.inspector import Inspector

    name = loaded.recipe.name
    kind = cast("SearchKind", search)
    return Inspector({name: loaded}, device=device, search=kind, runtime=runtime, precision=precision), name
