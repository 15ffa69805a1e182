"""What the stream asks of an engine: it judges batches of prepared frames, and may learn."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.types import Embedded, Image, Inspection, Rows

Maps: TypeAlias = Literal["none", "rejects", "all"]
"""For which frames the anomaly map is kept."""


class Engine(Protocol):
    """What the stream asks of the engine."""

    @property
    def recipes(self) -> Collection[str]:
        """The names of the recipes it can inspect."""

    def prepare(self, recipe: str, image: Image) -> Image:
        """An image at its recipe's size. Called from several threads at once."""

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        """One inspection for each (recipe, prepared image), in their order. Called from one thread only."""

    def warm_up(self) -> None:
        """Do what makes the first batch slow."""


@runtime_checkable
class OverlappingEngine(Protocol):
    """An engine that can begin with a batch before it has answered the last."""

    @property
    def slots(self) -> int:
        """Frames that it computes side by side, each answered when it is ready."""

    def begin(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> "Future[list[Inspection]]":
        """`inspect`, answered later. While anything is under way nothing else is called but this and `prepare`,
        what begins an embedding, and `swap_steps` where `swaps_beside` says so.
        """


class LearningEngine(Engine, Protocol):
    """An engine whose banks can be exchanged. Called from the engine's thread only."""

    def begin_embed(self, recipe: str, prepared: Image) -> "Future[Rows]":
        """The patches of a prepared image as the recipe's bank stores them, int16 (P, D); answered later, as by
        `OverlappingEngine.begin`.
        """

    def begin_embed_to_learn(self, recipe: str, prepared: Image) -> "Future[Embedded]":
        """The patches, and what the bank that judges now says of them; answered later."""

    def swaps_beside(self, recipe: str) -> bool:
        """Whether a recipe's bank may be exchanged while frames are under way; they are judged by the former one."""

    def swap_steps(self, recipe: str, bank: MemoryBank) -> Iterator[None]:
        """Make another generation ready, in steps; it judges from the end of the last."""
