"""The simulated line as a part of a whole stack (`deploy/compose.yaml`): its banks, and its frames sent to Kafka.

python -m ops.demo.simulated_line fit FOLDER
python -m ops.demo.simulated_line produce HOST:PORT --rate 6
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated

import typer
from aiokafka import AIOKafkaProducer

from ops.demo.line import SimulatedLine, Station, Truths
from ops.demo.material import MATERIALS, Role, load_material
from stream.cloudevents import frame_headers

FIT_FRAMES = 60
CALIBRATION_FRAMES = 100
FALSE_REJECT_RATE = 0.02

app = typer.Typer(no_args_is_help=True, help=__doc__)


def stations(seed: int) -> list[Station]:
    """One camera for each material, with a defect in every tenth frame or so and light that drifts."""
    return [Station(load_material(name), seed=seed, defect_share=0.1, drift=1.0) for name in MATERIALS]


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(help="Where each material's bank is written.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The same line for the same seed.")] = 0,
) -> None:
    """Fit a bank for each material; banks that are there stay as they are."""
    from engine.bank_file import generations, save_bank
    from engine.fit import fit as fit_bank
    from engine.recipe import Recipe
    from engine.weights import preset

    for station in stations(seed):
        if generations(folder / station.name):
            typer.echo(f"{station.name}: a bank is there")
            continue
        recipe = Recipe(
            name=station.name,
            backbone=preset("efficientnet_lite0"),
            coreset_fraction=0.02,
            false_reject_rate=FALSE_REJECT_RATE,
            seed=seed,
        )
        report = fit_bank(
            station.good_images(Role.FIT, FIT_FRAMES),
            recipe,
            calibration=station.good_images(Role.CALIBRATION, CALIBRATION_FRAMES),
        )
        save_bank(report.bank, folder / station.name)
        typer.echo(f"{station.name}: {report.rows} rows, threshold {report.threshold:.4g}; {report.promise}")


@app.command()
def produce(
    bootstrap: Annotated[str, typer.Argument(help="Brokers, host:port.", show_default=False)],
    topic: Annotated[str, typer.Option(help="Topic of frames.")] = "frames",
    rate: Annotated[float, typer.Option(help="Frames a second, all cameras together.")] = 6.0,
    frames: Annotated[int | None, typer.Option(help="How many.", show_default="without end")] = None,
    seed: Annotated[int, typer.Option(help="The same line for the same seed.")] = 0,
) -> None:
    """Send the line's frames to Kafka, as a camera's gateway would."""
    line = SimulatedLine(stations(seed), Truths(), frames=frames, rate=rate)
    asyncio.run(_send(line, bootstrap, topic))


async def _send(line: SimulatedLine, bootstrap: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
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


if __name__ == "__main__":
    app()
