"""What people ask of a recipe's learning, and what would come of it."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.learning.preview import Preview
from patchline.engine.types import Rows

ANYBODY = "*"
"""The identity of a request that anybody may have made: it is taken, and is nobody's second person."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, when (ISO 8601) and why; a `feedback_id` is applied once.

    `operator` is a name as it was typed. `identity` is who is known to ask; where whoever calls knows of no identities
    it is empty, and operators are taken for people.
    """

    feedback_id: str
    operator: str
    identity: str = ""
    reason: str = ""
    time: str = ""


class Confirmation(Request, frozen=True, kw_only=True):
    """A frame is said to be good, or a defect.

    `patches` is int16 (P, D), its embeddings as the bank stores them; None where the frame waits in quarantine.
    `nearest` is int64 (P,), a near row of each patch, where an inspection has found it: it spares time, and changes
    nothing. `score` is the one that it was judged with, before it may influence anything. A frame that was held goes
    through where someone else confirms it as well: another identity, under another name. Without identities it also
    goes through at once where `approved_by` is someone else than `operator`.
    """

    frame: str
    patches: Rows | None = None
    nearest: NDArray[np.int64] | None = None
    score: float = 0.0
    approved_by: str | None = None


class Unlearning(Request, frozen=True, kw_only=True):
    """A confirmed frame is to be taken back."""

    frame: str


class Rollback(Request, frozen=True, kw_only=True):
    """The rows and the threshold of an earlier generation are to be taken again, and how it was chosen."""

    generation: int


class Ageing(Request, frozen=True, kw_only=True):
    """Rows are to leave, each named by its frame and patch, and with them what they stood for."""

    rows: tuple[tuple[str, int], ...]


class ThresholdChoice(Request, frozen=True, kw_only=True):
    """The threshold is to aim at a false-reject rate from here on, in (0, 1), or to stay at a value above 0: either.

    `evaluation_sha256` names the file of an evaluation whose best F1 the value gave, in hexadecimal.
    """

    rate: float | None = None
    value: float | None = None
    evaluation_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Proposal:
    """A generation that has not been written. `hold` is the reason for which it waits for a second person, or None:
    then `bank` has the rows as they are, and committing it puts the frame into quarantine.
    """

    bank: MemoryBank
    preview: Preview
    hold: str | None = None
