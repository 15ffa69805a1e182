"""The simulated line of the compose stack, sending to a real broker."""

import asyncio
from collections import Counter
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from typer.testing import CliRunner

from patchline.ops.demo.material import MATERIALS
from patchline.ops.demo.simulated_line import line_commands
from patchline.stream.decoding.image_file import read_image
from patchline.stream.model.frame import Frame, Position
from patchline.stream.wire.frames import read_frame


async def test_line_sends_frames_that_the_service_reads(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Each material's camera sends whole images as CloudEvents without a flaw, under ids that differ."""
    topic, count = unique_name("line"), 2 * len(MATERIALS)
    options = ["produce", kafka, "--topic", topic, "--rate", "0", "--frames", str(count)]
    done = await asyncio.to_thread(CliRunner().invoke, line_commands, options)
    assert done.exit_code == 0, done.output
    frames: list[Frame] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as reader:
        while len(frames) < count:
            r = await reader.getone()
            place = Position(r.topic, r.partition, r.offset)
            frames.append(
                read_frame(position=place, timestamp_ms=r.timestamp, key=r.key, value=r.value, headers=r.headers)
            )
    assert [frame.flaw for frame in frames] == [None] * count
    assert Counter((frame.camera, frame.recipe) for frame in frames) == {(name, name): 2 for name in MATERIALS}
    assert len({frame.frame_id for frame in frames}) == count
    for frame in frames:
        assert read_image(frame.payload or b"", max_bytes=2**20, max_pixels=2**20).shape[2] == 3
