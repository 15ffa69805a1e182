"""A memory bank at a path or URL: the chain of generations of `bank.store`, for who needs one bank."""

from collections.abc import Sequence
from pathlib import Path

from patchline.engine.bank.events import Fitted, StoredFrame
from patchline.engine.bank.manifest import manifest_name
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import BankFileError


def save_bank(bank: MemoryBank, url: str | Path, calibration: Sequence[StoredFrame] = ()) -> str:
    """Write the first generation and return its manifest's path.

    Args:
        bank: generation 1.
        url: where; folders are created where they are missing.
        calibration: its calibration frames as `GenerationStore.keep` has stored them; without them it cannot learn.

    Raises:
        BankFileError: there is a bank already (GenerationConflictError), or nothing can be written there.
    """
    if bank.generation != 1:
        raise BankFileError(f"{url}: expected generation 1, found {bank.generation}: later ones follow a parent")
    store = GenerationStore(url)
    store.create(bank, event=Fitted(time=bank.created), calibration=calibration)
    return f"{store.where}/{manifest_name(1)}"


def load_bank(url: str | Path, generation: int | None = None) -> MemoryBank:
    """Read a generation, the newest by default, and check that it is what was written.

    Raises:
        BankFileError: there is none, or a file is truncated, altered or foreign; the message says which and why.
    """
    return GenerationStore(url).bank(generation)


def generations(url: str | Path) -> list[int]:
    """The numbers of the generations at a path or URL."""
    return GenerationStore(url).generations()
