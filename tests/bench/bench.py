"""What every figure needs: where to print, where to keep what is slow to make, the data, and the peer."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from rich.console import Console

from tests.bench.peer import Peer
from tests.bench.row import Row

REPOSITORY = Path(__file__).resolve().parents[2]


class FigureUnavailableError(Exception):
    """A figure that cannot be measured here; the text says why."""


@dataclass
class Bench:
    """One run of the bench. `repeats` is how often each side runs; `quick` asks for less work, to try the harness."""

    console: Console
    repeats: int = 5
    quick: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def build(self) -> Path:
        """A folder for banks, features and weights that are slow to make; they are found again in the next run."""
        folder = REPOSITORY / "build" / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def data(self) -> Path:
        """The test data: $PATCHLINE_DATA, else ../shared/data beside the repository."""
        given = os.environ.get("PATCHLINE_DATA")
        folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
        if not (folder / "magnetic_tile").is_dir():
            raise FigureUnavailableError(f"no test data: {folder}/magnetic_tile is missing; set PATCHLINE_DATA")
        return folder.resolve()

    @cached_property
    def peer(self) -> Peer:
        """anomalib in its own environment, started at first use."""
        return self._stack.enter_context(self.new_peer())

    def new_peer(self) -> Peer:
        """A process of the peer's own, for what must not share one (its peak memory); a context manager."""
        return Peer(REPOSITORY / "build" / "peers" / "anomalib")

    @property
    def threads(self) -> int:
        """Threads of both sides: one for each core."""
        return torch.get_num_threads()

    def say(self, text: str) -> None:
        """Print a line on what is measured and how."""
        self.console.print(text, highlight=False)

    def close(self) -> None:
        """Stop the peer."""
        self._stack.close()


Figure: TypeAlias = Callable[[Bench], list[Row]]
"""A figure: says what it measures and how, and returns its rows."""
