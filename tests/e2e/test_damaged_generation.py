"""A stored generation that is damaged, or is not there, ends no worker: announced over a real broker, it is refused."""

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from patchline.engine.bank.store import GenerationStore
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Confirmation
from patchline.stream.model.feedback import GenerationAnnounced
from patchline.stream.model.result import GenerationRef
from patchline.stream.wire.feedback import announcement_record
from tests.e2e.service import patchline
from tests.e2e.test_learning import FIT, Line, Worker, part, png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def line(kafka: str, unique_name: Callable[[str], str], tmp_path: Path) -> Line:
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(14):
        (good / f"{seed:03d}.png").write_bytes(png(part(seed)))
    patchline("fit", good, "--out", tmp_path / "tile", *FIT, "--false-reject-rate", 0.2, "--coreset", 0.2)
    return Line(kafka, unique_name, tmp_path, good)


def taught(store: Path, into: Path) -> GenerationStore:
    """A copy of a store with two generations more."""
    copy = GenerationStore(shutil.copytree(store, into))
    learner = Learner.open(copy)
    like = copy.patches(copy.manifest(1).calibration[0]).astype(np.int32)
    for number in range(2):
        moved = np.clip(like + 200 * (number + 1), -32767, 32767).astype(np.int16)
        asked = Confirmation(feedback_id=f"tap-{number}", operator="ada", frame=f"f{number}", patches=moved)
        for _ in learner.confirm_good(asked):
            pass
        learner.commit()
    return copy


def put(files: Sequence[Path], store: Path) -> None:
    """Put files of a copy into the store, tensors before the manifest that names them."""
    for path in sorted(files, key=lambda path: path.suffix == ".json"):
        shutil.copy(path, store)


async def announce(line: Line, number: int, sha256: str) -> None:
    announced = GenerationAnnounced(
        recipe="tile",
        generation=GenerationRef(number=number, sha256=sha256),
        rows=1,
        threshold=1.0,
        time=datetime.now(UTC),
    )
    key, value, headers = announcement_record(announced)
    async with AIOKafkaProducer(bootstrap_servers=line.kafka) as producer:
        await producer.send_and_wait(line.topics["generations"], value, key=key, headers=headers)


def refused(worker: Worker, least: int) -> None:
    """Wait until the worker has refused so many generations."""
    until = time.monotonic() + 60
    while True:
        lines = worker.ask("/metrics")[1].decode().splitlines()
        (count,) = (
            float(line.split()[-1]) for line in lines if line.startswith("patchline_generations_refused_total{")
        )
        if count >= least:
            return
        assert time.monotonic() < until, f"refused {count} of {least}:\n{worker.log}"
        time.sleep(0.05)


async def test_a_worker_stays_on_the_generation_that_is_whole(line: Line, tmp_path: Path) -> None:
    """It says so, counts it and judges on; a later generation, and the same one mended, are taken."""
    store = tmp_path / "tile"
    copy = taught(store, tmp_path / "taught")
    second, third = (sorted((tmp_path / "taught").glob(f"generation-00000{number}.*")) for number in (2, 3))
    with Worker(line) as worker:
        worker.run()
        await line.judge({"first": png(part(99))})
        tensors = next(path for path in second if path.suffix == ".safetensors")
        content = tensors.read_bytes()
        tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        put(second, store)
        await announce(line, 2, copy.manifest(2).sha256)
        refused(worker, 1)
        await announce(line, 9, "0" * 64)
        refused(worker, 2)
        judged = await line.judge({f"later {number}": png(part(number)) for number in range(5)})
        assert {r["generation"]["number"] for r in judged.values()} == {1}
        assert f"{tensors.name}: altered" in worker.log
        tensors.write_bytes(content)
        put([*second, *third], store)
        worker.reach(3)
        assert worker.terminate() == 0, worker.log
