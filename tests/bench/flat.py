"""FAISS flat at its best on this machine: every core type of its OpenBLAS, batches, threads; the quickest is the peer.

FAISS's wheel carries OpenBLAS 0.3.15, which takes processors that are newer than itself for ones with SSE3 alone, and
is then several times as slow as it could be. OPENBLAS_CORETYPE tells it better, but is read when the library is loaded.
So there is a process of our own interpreter, with the product's FAISS, for every core type that the processor can run.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.engine.numerics.processor import AVX2, AVX512, FMA, Processor
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.loaded import Loaded
from tests.bench.peer import Peer
from tests.bench.timing import Timed

CORE_TYPES = (("SkylakeX", (AVX512, AVX2, FMA)), ("Haswell", (AVX2, FMA)))
"""OpenBLAS's core types, and the instruction sets without which they would end the process."""
NEIGHBOURS = 9
"""Rows that Eq. 7 asks for."""
LAME = 2.0
"""A core type that takes so many times as long as another does not get all its batches and threads tried."""
TELLING_FLOP = 5e9
"""Arithmetic from which a core type that is lame is left out of later, larger banks too."""
NEAR = 1.25
"""Ways within so many times the quickest are timed a second time: which is the quickest is then no accident."""


@dataclass(frozen=True)
class Way:
    """A way to ask FAISS: so many frames at once with so many threads, or `apart`, a frame on each thread."""

    batch: int
    threads: int
    apart: bool = False

    def __str__(self) -> str:
        if self.apart:
            return f"a frame on each of {self.threads} threads"
        frames = f"batches of {self.batch} frames" if self.batch > 1 else "frame by frame"
        return f"{frames} on {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class Flat:
    """FAISS at its best: how to time it, how it is asked, what its process loaded, and what else was tried."""

    timed: Timed
    name: str
    loaded: Loaded
    tried: str
    seconds: float
    sq_first: NDArray[np.float32]
    """Squared distances of the first frame's patches to their nearest rows."""


def core_types(processor: Processor) -> dict[str, Mapping[str, str]]:
    """Core types that may be tried, by name, the likely quickest first, each with the variables that ask for it.

    Where a narrower processor is played, only those that it could run, and not what OpenBLAS finds by itself.
    """
    found: dict[str, Mapping[str, str]] = {
        name: {"OPENBLAS_CORETYPE": name} for name, needed in CORE_TYPES if processor.has(*needed)
    }
    if processor.narrowed:
        if not processor.has(AVX512):
            found = {name: {**variables, "FAISS_SIMD_LEVEL": "AVX2"} for name, variables in found.items()}
        if not found:
            raise FigureUnavailableError(f"FAISS cannot be kept to what is in effect of {processor}")
        return found
    return found | {"as its wheel comes": {}}


class FlatPeers:
    """A process with FAISS for every core type; `best` compares them on a bank and frames."""

    def __init__(self, peers: Mapping[str, Peer], folder: Path) -> None:
        self._peers = peers
        self._folder = folder
        self._left_out: set[str] = set()

    def all_anew(self) -> None:
        """Try core types again that were left out: other vectors come."""
        self._left_out.clear()

    def best(self, bank: NDArray[np.float32], frames: Sequence[NDArray[np.float32]], ways: Sequence[Way]) -> Flat:
        """Find the quickest core type and way for a bank, float32 (M, D), and frames of (P, D) each.

        Args:
            bank: the rows.
            frames: the queries.
            ways: how FAISS may be asked, the likely quickest first: by it core types are compared.
        """
        rows, queries, first = (self._folder / f"flat-{name}.npy" for name in ("rows", "queries", "first"))
        np.save(rows, bank)
        np.save(queries, np.stack(frames))
        flop = 2.0 * len(frames) * frames[0].size * len(bank)
        found: dict[tuple[str, Way], float] = {}
        tried = []
        for name, peer in self._peers.items():
            if name in self._left_out:
                continue
            peer.ask("flat_load", bank=rows, frames=queries)
            self._ask(peer, ways[0], frames=1)  # warm
            least = min(found.values(), default=math.inf)
            mine: dict[Way, float] = {}
            for way in ways:
                mine[way] = self._ask(peer, way, limit_s=min([least, *mine.values()]) if mine else LAME * least)
                if len(mine) == 1 and mine[way] > LAME * least:
                    if flop > TELLING_FLOP:
                        self._left_out.add(name)
                    break
            for way, seconds in mine.items():
                if seconds <= NEAR * min([least, *mine.values()]):
                    mine[way] = min(seconds, self._ask(peer, way))
            found |= {(name, way): seconds for way, seconds in mine.items()}
            quickest = min(mine, key=lambda way: mine[way])
            each = f"{mine[quickest] / len(frames) * 1e3:.1f}" if mine[quickest] < math.inf else "too many"
            tried.append(f"{name} {each} ms a frame ({quickest})")
        name, way = min(found, key=lambda key: found[key])
        peer = self._peers[name]
        peer.ask("flat_search", distances=first)
        return Flat(
            timed=lambda: self._ask(peer, way),
            name=f"{name}, {way}",
            loaded=peer.loaded(),
            tried="; ".join(tried),
            seconds=found[name, way],
            sq_first=np.load(first),
        )

    @staticmethod
    def _ask(peer: Peer, way: Way, limit_s: float = math.inf, frames: int | None = None) -> float:
        reply = peer.ask(
            "flat_time",
            batch=way.batch,
            threads=way.threads,
            apart=way.apart,
            neighbours=NEIGHBOURS,
            limit_s=min(limit_s, 1e9),  # JSON has no infinity
            frames=frames,
        )
        return math.inf if "stopped" in reply else float(reply["seconds"])


@contextmanager
def flat_peers(bench: Bench) -> Iterator[FlatPeers]:
    """Processes with FAISS, one for each core type; they end with the context."""
    with ExitStack() as stack:
        kinds = core_types(bench.processor)
        if not bench.processor.narrowed and "OPENBLAS_CORETYPE" in os.environ:
            bench.say("OPENBLAS_CORETYPE is set: FAISS as its wheel comes is not what it would be without")
        peers = {name: stack.enter_context(bench.new_flat(variables)) for name, variables in kinds.items()}
        yield FlatPeers(peers, bench.build)


def ways(threads: int, frames: int, *, batches: Sequence[int] = (16, 8, 1), one_thread: bool = True) -> list[Way]:
    """Ways to ask FAISS, the likely quickest first."""
    sizes = sorted({min(batch, frames) for batch in batches}, reverse=True)
    found = [Way(size, threads) for size in sizes]
    if threads > 1:
        found.append(Way(1, threads, apart=True))
        if one_thread:
            found += [Way(size, 1) for size in sizes]
    return found


def check_alike(distances: NDArray[np.float32], flat: Flat, figure: str) -> None:
    """Both sides find the same distances, float32 (P,), as far as FAISS's rounding lets it."""
    theirs = flat.sq_first
    if not np.allclose(np.square(distances), theirs, rtol=1e-2, atol=1e-3 * float(theirs.mean())):
        raise FigureUnavailableError(f"{figure}: the distances differ from FAISS's")
