"""How long good frames take: calm spans beside disturbed ones, in turns."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

from tests.chaos.figure import Measured
from tests.chaos.good_frames import GoodFrames

_REST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSizes:
    """So many `pairs` of spans of so many `frames`; the median of the p99s' ratios is to be at most `ratio`."""

    pairs: int
    frames: int
    frames_per_s: float
    ratio: float


async def in_pairs(
    frames: GoodFrames, sizes: PairSizes, name: str, disturbed: Callable[[int], Awaitable[None]]
) -> Measured:
    """The p99 while disturbed over that of the calm span before, for each pair.

    Args:
        frames: what is sent in both, and a few before, since the first of a worker take longer.
        sizes: how many.
        name: of the disturbance.
        disturbed: disturbs for about the time of one span, whose number it is given; it ends by itself.
    """
    await frames.p99_s(sizes.frames // 5)
    pairs: list[tuple[float, float]] = []
    for number in range(sizes.pairs):
        calm_s = await frames.p99_s(sizes.frames)
        await asyncio.sleep(_REST_S)
        disturbing = asyncio.ensure_future(disturbed(number))
        meanwhile_s = await frames.p99_s(sizes.frames)
        await disturbing
        await asyncio.sleep(_REST_S)
        pairs.append((calm_s, meanwhile_s))
    found = median(meanwhile_s / calm_s for calm_s, meanwhile_s in pairs)
    return Measured(
        name=f"p99 {name} over that of calm spans, {sizes.pairs} pairs of {sizes.frames:,} frames at"
        f" {sizes.frames_per_s:g}/s, median",
        measured=f"{found:.2f} ("
        + ", ".join(f"{after * 1000:.0f} over {before * 1000:.0f} ms" for before, after in pairs)
        + ")",
        goal=f"at most {sizes.ratio:g}",
        met=found <= sizes.ratio,
    )
