"""How far each known defect lies from what a stored generation would pass: its score over the threshold."""

from patchline.engine.bank.calibration import score_ratio
from patchline.engine.bank.events import chain_of
from patchline.engine.bank.reader import GenerationReader
from patchline.engine.bank.state import first_state, state_of
from patchline.engine.learning.reference_frames import ReferenceFrames


def defect_ratios(store: GenerationReader, generation: int | None = None) -> dict[str, float | None]:
    """The score of each frame that a generation (the newest unless given) knows as a defect, over its threshold.

    The score is that of the stored patches, as previews have it; above 1 the frame is rejected, and None stands where
    no number says it. Nothing but manifests is read where no defect is known.

    Raises:
        BankFileError: a file is missing, truncated, altered or foreign.
    """
    manifest = store.manifest(generation)
    defects = chain_of(store.events(manifest.generation)).defects
    if not defects:
        return {}
    bank = store.bank(manifest.generation)
    references = ReferenceFrames(state_of(bank, manifest.learning, first_state(bank)))
    for name, stored in defects.items():
        references = references.with_frame(name, "defect", store.patches(stored))
    scores = references.scores(bank.scale, bank.recipe.neighbours, bank.recipe.score_patches)
    pairs = zip(references.frames, scores, strict=True)
    return {frame.name: score_ratio(float(score), bank.threshold) for frame, score in pairs}
