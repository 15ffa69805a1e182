"""The JSON beside a generation's tensors: what the generation is, what it came from, and the sums that prove it.

A manifest carries the SHA-256 of its own content, of its tensors and of its parent's manifest, so a change to any of
them, to who taught what included, is noticed.
"""

import hashlib
import re
from typing import Any, Literal

import msgspec

from patchline.engine.bank.events import Event, Fitted, StoredFrame
from patchline.engine.bank.memory_bank import FrameOrigin, SetAside
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import BankFileError
from patchline.engine.recipe import Recipe, stated

FORMAT: Literal["patchline memory bank"] = "patchline memory bank"
VERSION = 3
READS = (1, 2, 3)
"""Version 1 knew no parents: each of its generations is a whole one. Up to version 2 there was one fold, and a
calibration frame that was learned went on vouching for the threshold: a bank that began so goes on so.
"""
MANIFEST_NAME = re.compile(r"generation-(\d{6,})\.json")


class LearningState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The radii of `coreset.online`, squared, in the stored integers' units, and the row budget."""

    sq_admission: int
    sq_first: int
    sq_fit: int
    budget: int
    thinned_at_first: bool = False

    @classmethod
    def of(cls, state: OnlineCoreset) -> "LearningState":
        """That of a state of the rows."""
        return cls(
            sq_admission=state.sq_admission,
            sq_first=state.sq_first,
            sq_fit=state.sq_fit,
            budget=state.budget,
            thinned_at_first=state.thinned_at_first,
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One generation. `sha256` is the bank's (`MemoryBank.sha256`); `tensors_sha256` that of the tensors' file.

    Without a `parent` the tensors are whole; with one they are what changed, and `frames` follow the first
    `frames_kept` of the parent's.
    """

    format: Literal["patchline memory bank"] = FORMAT
    version: int = VERSION
    generation: int
    sha256: str
    tensors: str
    tensors_sha256: str
    tensors_bytes: int
    recipe: Recipe
    scale: float
    grid: tuple[int, int]
    rows: int
    dimensions: int
    covering_radius: float
    false_reject_rate: float
    threshold: float
    calibration_frames: int
    promise: str
    created: str
    frames: tuple[FrameOrigin, ...]
    frames_kept: int = 0
    whole: bool = True
    """Whether the tensors hold every row, or the change from the generation before."""
    event: Event = Fitted()
    before_sha256: str = ""
    """`checksum` of the generation before; empty for the first."""
    learning: LearningState | None = None
    """None as long as nothing has been learned, unless it is an export of what has."""
    calibration: tuple[StoredFrame, ...] = ()
    """The calibration frames' embeddings, in generation 1."""
    rejects: tuple[StoredFrame, ...] = ()
    """Recent rejects, the oldest first; their files may be gone once they are no longer recent."""
    log: StoredFrame | None = None
    """The events of all generations up to this one, in whole generations after the first."""
    folds: int = 1
    fold_radius: float | None = None
    proved: float | None = None
    calibration_folds: tuple[int, ...] = ()
    calibration_groups: tuple[int, ...] = ()
    threshold_fixed: bool = False
    """Whether a person chose the threshold itself; `false_reject_rate` is then no aim. See `Calibration`."""
    calibration_set_aside: int = 0
    """`Calibration.set_aside`."""
    set_aside: tuple[SetAside, ...] = ()
    """All as `MemoryBank` has them."""
    checksum: str = ""
    """SHA-256 of this manifest with `checksum` empty, as compact JSON."""


def manifest_name(generation: int) -> str:
    """The name of a generation's manifest."""
    return f"generation-{generation:06d}.json"


def encode_manifest(manifest: Manifest) -> tuple[Manifest, bytes]:
    """The manifest with its checksum, and its file."""
    content = msgspec.to_builtins(manifest) | {"recipe": stated(manifest.recipe)}
    content["checksum"] = _checksum(content)
    text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    return msgspec.structs.replace(manifest, checksum=content["checksum"]), text


def decode_manifest(content: bytes, path: str, number: int) -> Manifest:
    """Read a manifest.

    Args:
        content: its file.
        path: names it in errors.
        number: of the generation that it should be of.

    Raises:
        BankFileError: it is truncated, altered, foreign, or of another generation.
    """
    try:
        head: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BankFileError(f"{path}: truncated or not JSON: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise BankFileError(f"{path}: foreign: its format is not {FORMAT!r}")
    if head.get("version") not in READS:
        raise BankFileError(f"{path}: version {head.get('version')!r}, this release reads {READS[0]} to {READS[-1]}")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise BankFileError(f"{path}: altered or foreign: {error}") from error
    if manifest.generation != number:
        raise BankFileError(f"{path}: describes generation {manifest.generation}, its name says {number}")
    # Of what is in the file, not of what this release makes of it: it may know options that the file was made without.
    if manifest.version > 1 and manifest.checksum != (actual := _checksum(head)):
        raise BankFileError(f"{path}: altered: its content has SHA-256 {actual}, it states {manifest.checksum}")
    for name in (manifest.tensors, manifest.log.name if manifest.log else "log"):
        if "/" in name or name.startswith("."):
            raise BankFileError(f"{path}: altered: it must name files beside it, found {name!r}")
    return manifest


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(content | {"checksum": ""})).hexdigest()
