"""Broken image files and crafted bombs: a verdict or a reason each, for little more than an honest file costs."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from patchline.engine.types import Image
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.model.errors import UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from tests.chaos.cpu_time import CpuClock
from tests.chaos.crowd import RECIPE
from tests.chaos.figure import Measured
from tests.chaos.honest_files import HonestCosts
from tests.chaos.mutants import encodings, mutated, photographs
from tests.services.process import REPOSITORY
from tests.stream.decoding.bombs import bombs

_TIMES = 4
"""So many times what an honest file costs may decoding take, and some time that is free."""
_GIVE_UP_S = 300
_MOST_BYTES = 2**28
"""Of honest files of as many pixels as are decoded; bombs and mutants are much smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `mutants` of image files, and every `step`-th bomb; `free_s` of CPU are free.

    Honest files of squares of `sides_px` are what they are compared with.
    """

    mutants: int
    step: int
    free_s: float
    sides_px: tuple[int, ...]
    seed: int = 0


SHORT = Sizes(mutants=200, step=4, free_s=3.0, sides_px=(64, 2000))
"""Other tests share the cores and their caches: what is not bounded takes minutes."""
LONG = Sizes(mutants=20_000, step=1, free_s=0.3, sides_px=(64, 2000, 8000))


@dataclass(slots=True)
class _Found:
    """What decoding some files came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    over: list[str] = field(default_factory=list)
    """Those that cost too much."""
    most: tuple[float, str] = (0.0, "none")
    """The largest share of what is allowed, and whose it is."""


def measure(sizes: Sizes) -> list[Measured]:
    """One decoder in this process, as the service has it: one file after another, so that each is told apart."""
    return asyncio.run(_measure(sizes))


async def _measure(sizes: Sizes) -> list[Measured]:
    limits = Limits(max_frame_bytes=_MOST_BYTES)
    decoding = _Decoding(limits)
    try:
        costs = await HonestCosts.measured(decoding.cost_s, sizes.sides_px)
        crafted = await _decoded(decoding, costs, limits, islice(bombs(), 0, None, sizes.step), sizes.free_s)
        broken = await _decoded(decoding, costs, limits, _mutants(sizes), sizes.free_s)
    finally:
        decoding.close()
    return [_told("bombs", crafted, sizes.free_s, costs), _told("mutants of image files", broken, sizes.free_s, costs)]


def _mutants(sizes: Sizes) -> Iterator[tuple[str, bytes]]:
    data = Path(os.environ.get("PATCHLINE_DATA") or REPOSITORY.parent / "shared" / "data")
    whole = [encoded for image in photographs(data if data.is_dir() else None) for encoded in encodings(image)]
    draw = random.Random(sizes.seed)
    for number in range(sizes.mutants):
        yield f"mutant {number}", mutated(whole, draw)


class _Decoding:
    """Decodes, and says what it took."""

    def __init__(self, limits: Limits) -> None:
        self._decoder = Decoder(_as_it_is, (RECIPE,), limits)
        self._clock = CpuClock()
        self.outcome = ""
        """Of the last file: `decoded`, or the reason."""

    async def cost_s(self, file: bytes) -> float:
        """Decode a file; seconds of CPU, of this process and those that it started."""
        frame = Frame.of_bytes("file", RECIPE, file)
        before_s = self._clock.now_s()
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                await self._decoder.decode(frame, file)
            self.outcome = "decoded"
        except UnreadableError as error:
            self.outcome = str(error.reason)
        return self._clock.now_s() - before_s

    def close(self) -> None:
        self._decoder.close()


def _as_it_is(_: str, image: Image) -> Image:
    return image


async def _decoded(
    decoding: _Decoding, costs: HonestCosts, limits: Limits, files: Iterable[tuple[str, bytes]], free_s: float
) -> _Found:
    found = _Found()
    for name, file in files:
        honest_s = costs.of(file, limits.max_pixels)
        allowed_s = free_s + _TIMES * honest_s
        taken_s = await decoding.cost_s(file)
        if taken_s > allowed_s:  # the first of a kind may start a process, or wait for a busy machine
            taken_s = min(taken_s, await decoding.cost_s(file))
        said = f"{name} ({len(file):,} bytes, {decoding.outcome}): {taken_s:.2f} s, allowed {allowed_s:.2f} s"
        found.outcomes[decoding.outcome] += 1
        found.most = max(found.most, (taken_s / allowed_s, said))
        if taken_s > allowed_s:
            found.over.append(said)
    return found


def _told(what: str, found: _Found, free_s: float, costs: HonestCosts) -> Measured:
    share, whose = found.most
    return Measured(
        name=f"{found.outcomes.total():,} {what}",
        measured=", ".join(f"{outcome} {count}" for outcome, count in found.outcomes.most_common())
        + f"; {len(found.over)} cost too much; the most {share:.2f} of what is allowed, {whose}"
        + f"; honest files take, in ns a pixel: {costs}"
        + "".join(f"; {over}" for over in found.over[:5]),
        goal=f"each decoded or refused, within {free_s:g} s + {_TIMES} times the CPU of an honest file",
        met=not found.over and found.outcomes.total() > 0,
    )
