"""The simulated line as a part of a whole stack (`deploy/compose.yaml`): its banks, and its frames sent to Kafka.

python -m patchline.ops.demo.simulated_line fit FOLDER
python -m patchline.ops.demo.simulated_line produce HOST:PORT --rate 6
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.demo.feed import MATERIALS, Feed, simulated
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import close, connect, new_producer, sink_errors
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.wire.frames import frame_headers

line_commands = typer.Typer(no_args_is_help=True, help=__doc__)
Seed = Annotated[int, typer.Option(help="The same line for the same seed.")]


def _feed(seed: int, *, frames: int | None = None, rate: float = 0.0) -> Feed:
    return simulated(
        MATERIALS, frames=frames, rate=rate, seed=seed, drift=0.0, defect_share=0.1, false_reject_rate=0.01
    )


@line_commands.command("fit")
def fit_banks(
    folder: Annotated[Path, typer.Argument(help="Where each material's bank is written.", show_default=False)],
    seed: Seed = 0,
) -> None:
    """Fit a bank for each material; banks that are there stay as they are."""
    from patchline.engine.bank.store import GenerationStore, generations, save_bank
    from patchline.engine.fitting.fit import fit

    for job in _feed(seed).jobs:
        name = job.recipe.name
        if generations(folder / name):
            print(f"{name}: a bank is there")
            continue
        store = GenerationStore(folder / name)
        report = fit(job.good, job.recipe, groups=job.groups, calibration=job.calibration, keep=store.keep)
        save_bank(report.bank, folder / name, report.calibration)
        print(f"{name}: {report.rows} rows, threshold {report.threshold:.4g}; {report.promise}")


@line_commands.command()
def produce(
    bootstrap: Annotated[str, typer.Argument(help="Brokers, host:port.", show_default=False)],
    topic: Annotated[str, typer.Option(help="Topic of frames.")] = "frames",
    rate: Annotated[float, typer.Option(help="Frames a second, all cameras together; 0: all at once.")] = 6.0,
    frames: Annotated[int | None, typer.Option(help="How many.", show_default="without end")] = None,
    seed: Seed = 0,
) -> None:
    """Send the line's frames to Kafka, as a camera's gateway would."""
    asyncio.run(_send(_feed(seed, frames=frames, rate=rate).source(Observer()), bootstrap, topic))


async def _send(line: AsyncIterable[Frame], bootstrap: str, topic: str) -> None:
    config = KafkaConfig(bootstrap_servers=bootstrap, frames_topic=topic)
    with sink_errors(config):
        producer = await connect(new_producer(config, Limits().max_frame_bytes), config)
        try:
            async for frame in line:
                value = frame.payload or b""
                headers = frame_headers(
                    # A line that is started again begins its numbers anew; its frames are others.
                    frame_id=f"{frame.frame_id}-{frame.time:%Y%m%dT%H%M%S.%f}",
                    camera=frame.camera,
                    time=frame.time,
                    recipe=frame.recipe,
                    sha256=hashlib.sha256(value).hexdigest(),
                )
                await producer.send_and_wait(topic, key=frame.camera.encode(), value=value, headers=headers)
        finally:
            await close(producer)


if __name__ == "__main__":
    line_commands()
