"""The threshold of an evaluation's best F1, read from its `evaluation.json`, for the bank that it judged by."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.reader import GenerationReader
from patchline.engine.errors import BankFileError
from patchline.ops.errors import InputError


class EvaluatedGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """The generation that an evaluation judged by."""

    number: int
    sha256: str


class BestF1(msgspec.Struct, frozen=True, kw_only=True):
    """What an `evaluation.json` says of its best F1; `undefined` says why there is none. Its other figures are left."""

    recipe: str
    generation: EvaluatedGeneration
    f1_max: float | None
    f1_max_threshold: float | None
    undefined: dict[str, str] = {}


def read_best_f1(file: Path) -> tuple[BestF1, str]:
    """Read an evaluation, and the SHA-256 of its file.

    Raises:
        InputError: the file cannot be read, is none that `patchline evaluate` wrote, or has no best F1.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}; expected an evaluation.json") from error
    try:
        found = msgspec.json.decode(content, type=BestF1)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}; expected the evaluation.json that `patchline evaluate` writes") from error
    if found.f1_max_threshold is None or found.f1_max is None:
        why = found.undefined.get("f1_max", "none is stated")
        raise InputError(f"{file}: f1_max_threshold: {why}; expected an evaluation with good and defective frames")
    return found, hashlib.sha256(content).hexdigest()


def best_threshold(found: BestF1, file: Path, reader: GenerationReader, bank: MemoryBank) -> float:
    """The threshold of the best F1, where the frames that gave it would score alike by this generation.

    That is so where the evaluation's generation is this one, or another of the same bank with the same rows.

    Args:
        found: what the evaluation says.
        file: names it in errors.
        reader: the bank's generations.
        bank: the newest of them.

    Raises:
        InputError: the evaluation is of another recipe, bank, or generation with other rows.
    """
    assert found.f1_max_threshold is not None  # noqa: S101 - `read_best_f1` saw to it
    evaluated, judged = found.generation, bank.recipe.name
    if found.recipe != judged:
        raise InputError(f"{file}: recipe: found {found.recipe!r}, expected an evaluation of {judged!r}")
    if evaluated.sha256 != bank.sha256:
        try:
            other = reader.bank(evaluated.number)
        except BankFileError:
            other = None
        if other is None or other.sha256 != evaluated.sha256:
            raise InputError(
                f"{file}: generation: found {evaluated.number} with SHA-256 {evaluated.sha256}, which {reader.where} "
                f"does not hold; expected an evaluation of its generation {bank.generation}"
            )
        if not np.array_equal(other.rows, bank.rows):
            raise InputError(
                f"{file}: generation: found {evaluated.number}, whose rows are not those of generation "
                f"{bank.generation}: its scores are others; expected an evaluation of generation {bank.generation}"
            )
    return found.f1_max_threshold
