"""The oddest images of a fit as pictures in a folder: a defect among the good images is seen at a glance."""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from PIL import Image as PillowImage

from patchline.engine.bank.calibration import score_ratio
from patchline.engine.fitting.fit import FitReport
from patchline.engine.types import Verdict
from patchline.ops.errors import InputError
from patchline.ops.offline.image_files import load_image
from patchline.ops.offline.image_folder import ImageFolder
from patchline.ops.offline.overlay import overlay_sheet
from patchline.stream.model.result import GenerationRef, Result

NAME_LETTERS = 80
"""Of an image's name in that of its picture: file systems take 255 bytes."""


def write_look_first(fitted: FitReport, good: ImageFolder, folder: Path) -> str | None:
    """Draw each of the oddest images with its map, the oddest first.

    The pictures are named `RANK-SHARE-NAME.png`: the share is the held-out score's of the threshold.

    Args:
        fitted: what was fitted.
        good: its images.
        folder: for the pictures; made where it is missing.

    Returns:
        Why none were written, in a sentence; None where they were. A fit does not fail for its pictures.
    """
    paths = dict(zip(good.names, good.paths, strict=True))
    try:
        if folder.is_dir() and any(folder.iterdir()):
            return f"{folder}: holds files already, so the oddest images were not drawn there; name another: --overlays"
        folder.mkdir(parents=True, exist_ok=True)
        for rank, odd in enumerate(fitted.oddest, start=1):
            share = share_of(odd.score, fitted.threshold)
            word = "-set-aside" if odd.set_aside else ""
            now = datetime.now(UTC)
            result = Result(
                frame_id=odd.name,
                camera="",
                recipe=fitted.bank.recipe.name,
                time=now,
                inspected_at=now,
                verdict=Verdict.REJECT if odd.score > fitted.threshold else Verdict.PASS,
                latency_ms=0.0,
                score=odd.score,
                threshold=fitted.threshold,
                generation=GenerationRef(number=1, sha256=fitted.bank.sha256),
            )
            title = f"{odd.name}{', set aside' if odd.set_aside else ''}"
            sheet = overlay_sheet(load_image(paths[odd.name]), odd.anomaly_map, result, title)
            stem = PurePosixPath(odd.name).with_suffix("").as_posix().replace("/", "_")[-NAME_LETTERS:]
            PillowImage.fromarray(sheet).save(folder / f"{rank:02d}-{share}{word}-{stem}.png", compress_level=4)
    except (OSError, InputError) as error:
        return f"{folder}: the oddest images could not be drawn there: {error}"
    return None


def share_of(score: float, threshold: float) -> str:
    """A score as a share of the threshold, `1.42x`; `beyond` where no number says it, as with a threshold of 0."""
    ratio = score_ratio(score, threshold)
    return "beyond" if ratio is None else f"{ratio:.2f}x"
