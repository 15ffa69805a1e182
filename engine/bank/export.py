"""One generation as a bank of its own: rows, calibration frames and known defects, and nothing of what led there."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.events import ConfirmedDefect, Fitted, chain_of
from patchline.engine.bank.manifest import LearningState
from patchline.engine.bank.reader import GenerationReader
from patchline.engine.bank.state import first_state, state_of, vouching
from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import BankFileError


def export(
    store: GenerationReader, generation: int, url: str | Path, *, operator: str, time: str, reason: str = ""
) -> GenerationStore:
    """Write a generation as generation 1 of a store elsewhere; its SHA-256 is the same, and it can learn on.

    A threshold that was chosen stays so. Each known defect follows as a generation that changes no row. What the
    rows came from can no longer be unlearned there: the embeddings of confirmed frames stay behind.

    Args:
        store: where the generation is.
        generation: its number.
        url: where to; there must be no bank yet.
        operator, time, reason: who exports it, when (ISO 8601) and why.

    Raises:
        BankFileError: the generation is not there, or damaged; there is a bank at `url` already, or nothing can be
            written there.
    """
    out = GenerationStore(url)
    if out.generations():
        raise BankFileError(f"{out.where}: holds a memory bank already; expected a folder without one")
    manifest, bank = store.manifest(generation), store.bank(generation)
    first_bank, first_manifest = store.bank(1), store.manifest(1)
    first = state_of(first_bank, first_manifest.learning, first_state(first_bank))
    state = state_of(bank, manifest.learning, first)
    events = store.events(generation)
    chain = chain_of(events)
    vouches = vouching(first_manifest, chain)
    stay = [frame for frame, stays in zip(first_manifest.calibration, vouches, strict=True) if stays]
    calibration = [out.keep(frame.name, store.patches(frame)) for frame in stay]
    defects = chain.defects
    confirmed = {event.frame.name: event for event in events if isinstance(event, ConfirmedDefect)}
    for frame in defects.values():
        out.keep(frame.name, store.patches(frame))
    exported = replace(
        bank,
        generation=1,
        created=time,
        frames=tuple(msgspec.structs.replace(f, generation=1) for f in bank.frames),
        calibration_folds=_staying(first_bank.calibration_folds, vouches),
        calibration_groups=_staying(first_bank.calibration_groups, vouches),
        set_aside=first_bank.set_aside,
    )
    what = f"export of {store.where} generation {generation}" + (f": {reason}" if reason else "")
    written = out.create(
        exported,
        event=Fitted(operator=operator, time=time, reason=what, chosen=chain.chosen),
        learning=LearningState.of(state),
        calibration=calibration,
    )
    for name in defects:
        later = replace(exported, generation=written.generation + 1)
        written = out.create(
            later,
            event=msgspec.structs.replace(confirmed[name], passed=()),
            before=(written, exported),
            kept=np.arange(len(bank.rows)),
            learning=LearningState.of(state),
        )
        exported = later
    return out


def _staying(numbers: tuple[int, ...], vouches: NDArray[np.bool_]) -> tuple[int, ...]:
    """Of one number a calibration frame, if there are any, those of the frames that still vouch; all where no frame was
    kept, as no row can have changed then.
    """
    if not len(vouches):
        return numbers
    return tuple(n for n, stays in zip(numbers, vouches, strict=True) if stays) if numbers else ()
