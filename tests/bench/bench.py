"""What every figure needs: where to print, where to keep what is slow to make, the data, and the peer."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from rich.console import Console

from patchline.engine.numerics.processor import AVX2, AVX512_VNNI, Processor, this_processor
from tests.bench.peer import REPOSITORY, Peer, anomalib_python
from tests.bench.row import Row


class FigureUnavailableError(Exception):
    """A figure that cannot be measured here; the text says why."""


@dataclass
class Bench:
    """One run of the bench. `repeats` is how often each side runs; `quick` asks for less work, to try the harness.

    `before` is a checkout of an earlier version, which some figures compare with. Of a figure of many rows only those
    whose name has `only` in it are measured, where such a figure asks `wants`.
    """

    console: Console
    repeats: int = 5
    quick: bool = False
    processor: Processor = field(default_factory=this_processor)
    before: Path | None = None
    only: str = ""
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

    def new_peer(self, variables: Mapping[str, str] | None = None) -> Peer:
        """A process of the peer's own, for what must not share one (its peak memory); a context manager.

        `variables` are set in its environment.
        """
        return Peer(anomalib_python(REPOSITORY / "build" / "peers" / "anomalib"), self.threads, variables)

    def new_flat(self, variables: Mapping[str, str]) -> Peer:
        """A process of our own interpreter, with the product's FAISS, and variables that say which kernels it loads."""
        return Peer(Path(sys.executable), self.threads, variables)

    def goal(self, *, vnni: float, avx2: float) -> float | None:
        """The goal of a figure by the instruction sets in effect: with AVX-512 VNNI, or with AVX2; else it has none."""
        if self.processor.has(AVX512_VNNI):
            return vnni
        return avx2 if self.processor.has(AVX2) else None

    def wants(self, figure: str) -> bool:
        """Whether a row of this name is measured."""
        return self.only in figure

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
