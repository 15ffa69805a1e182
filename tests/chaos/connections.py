"""Thousands of idle and half-open HTTP connections, without and with TLS: inspection goes on, and health answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from tests.chaos.alive import longest_steps
from tests.chaos.crowd import Crowd, Worker, small_bank
from tests.chaos.figure import Measured
from tests.chaos.good_frames import GoodFrames
from tests.chaos.idle_clients import IdleClients
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.chaos.loop_meter import METERED, TOLD_FROM_S
from tests.chaos.pairs import PairSizes, in_pairs
from tests.chaos.scrape import port_of, status
from tests.services.certificates import certificates
from tests.services.kafka import KafkaBroker

_ASK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `connections` during the disturbed spans; each health page is there within `health_s`.

    No step of the event loop may take longer than `step_ms` of a processor.
    """

    spans: PairSizes
    connections: int
    health_s: float
    step_ms: float


SHORT = Sizes(
    spans=PairSizes(pairs=1, frames=100, frames_per_s=20, ratio=100), connections=2000, health_s=5, step_ms=1000
)
LONG = Sizes(
    spans=PairSizes(pairs=5, frames=600, frames_per_s=40, ratio=1.25), connections=2000, health_s=1, step_ms=50
)


def measure(sizes: Sizes) -> list[Measured]:
    """One worker at a time: with plain HTTP, and with TLS."""
    with TemporaryDirectory(prefix="patchline-chaos-") as name, KafkaBroker() as broker:
        broker.start_broker()
        folder = Path(name)
        signed = certificates(folder)
        tls = {"tls_certificate": str(signed.certificate), "tls_key": str(signed.key)}
        return asyncio.run(_both(sizes, folder, broker, tls))


async def _both(sizes: Sizes, folder: Path, broker: KafkaBroker, tls: dict[str, Any]) -> list[Measured]:
    config, bank = await new_line(broker), await asyncio.to_thread(small_bank, folder)
    found: list[Measured] = []
    for name, http in (("plain HTTP", {}), ("TLS", tls)):
        settings = settings_of(config, bank, session_timeout_s=10.0) | {"http": http}
        with Crowd(folder / name, settings, {METERED: str(TOLD_FROM_S)}) as crowd:
            worker = await crowd.start_ready()
            async with (
                GoodFrames(config, cameras=len(CAMERAS), frames_per_s=sizes.spans.frames_per_s) as frames,
                IdleClients(port_of(worker), sizes.connections, tls=bool(http)) as clients,
            ):
                begin_s = monotonic()
                disturbance = _Disturbance(worker, sizes, clients)
                what = f"beside {sizes.connections:,} idle and half-open connections ({name})"
                found += [
                    await in_pairs(frames, sizes.spans, what, disturbance),
                    await frames.once(what),
                    _health(what, disturbance, sizes),
                    longest_steps(worker, begin_s, sizes.step_ms),
                ]
            await worker.drain()
    return found


class _Disturbance:
    """Idle clients for one span, and what asking for health takes meanwhile."""

    def __init__(self, worker: Worker, sizes: Sizes, clients: IdleClients) -> None:
        self._worker, self._sizes, self.clients = worker, sizes, clients
        self.taken_s: list[float] = []
        self.codes: list[int] = []

    async def __call__(self, number: int) -> None:
        span_s = self._sizes.spans.frames / self._sizes.spans.frames_per_s
        await self.clients.come()
        end = monotonic() + span_s
        while monotonic() < end:
            for path in ("/healthz", "/readyz"):
                begin = monotonic()
                code, _ = await status(self._worker, path)
                self.taken_s.append(monotonic() - begin)
                self.codes.append(code)
            await asyncio.sleep(_ASK_EVERY_S)
        await self.clients.go()


def _health(what: str, disturbance: _Disturbance, sizes: Sizes) -> Measured:
    taken_s: Sequence[float] = disturbance.taken_s
    wrong = sum(code != 200 for code in disturbance.codes)
    return Measured(
        name=f"health and readiness {what}, asked {len(taken_s)} times",
        measured=f"within {max(taken_s):.2f} s, {wrong} without a good answer;"
        f" {disturbance.clients.cut_off:,} clients cut off",
        goal=f"each good, within {sizes.health_s:g} s",
        met=not wrong and max(taken_s) <= sizes.health_s,
    )
