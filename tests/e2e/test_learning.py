"""An operator confirms rejected frames, and every worker learns: over a real broker, over HTTP and by command."""

import asyncio
import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from patchline.stream.wire.frames import frame_headers
from tests.e2e import topics
from tests.e2e.service import PATCHLINE, Service, patchline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TOKEN = "a-token-of-these-tests"  # noqa: S105 - of a test
FIT = ("--backbone", "resnet18", "--weights", "random:1", "--stages", "layer1,layer2", "--size", "64")


def part(seed: int, spot: tuple[int, int, int] | None = None) -> np.ndarray:
    """Grey texture, (96, 80, 3) BGR, with a coloured square where asked for."""
    noise = np.random.default_rng(seed).integers(90, 130, (96, 80, 1), dtype=np.uint8)
    image = np.repeat(noise, 3, axis=2)
    if spot is not None:
        image[30:54, 20:44] = spot
    return image


def png(image: np.ndarray) -> bytes:
    ok, encoded = cv2.imencode(".png", image)
    assert ok
    return encoded.tobytes()


RED, BLUE = png(part(80, (100, 100, 175))), png(part(81, (170, 120, 95)))


@pytest.fixture(scope="module")
def good_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for seed in range(14):
        (folder / f"{seed:03d}.png").write_bytes(png(part(seed)))
    return folder


class Line:
    """Two workers on one store, one broker, one evidence store."""

    def __init__(self, kafka: str, unique_name: Callable[[str], str], folder: Path, good_images: Path) -> None:
        self.kafka = kafka
        names = ("frames", "results", "dead_letters", "feedback", "feedback_replies", "generations")
        self.topics = {name: unique_name(name) for name in names}
        self.settings = {
            "recipes": {"tile": {"bank": str(folder / "tile"), "learns": True, "good_images": str(good_images)}},
            "kafka": {
                "bootstrap": kafka,
                "group": unique_name("group"),
                "session_timeout_s": 6,
                **{f"{name}_topic": topic for name, topic in self.topics.items()},
            },
            "evidence": {"url": str(folder / "evidence"), "pass_share": 1.0},
        }
        self._sent = 0

    async def judge(self, images: dict[str, bytes], *, everywhere: bool = False) -> dict[str, dict[str, Any]]:
        """Send frames, by id; their results. `everywhere`: one copy to each partition, ids with its number."""
        copies = {f"{name}@{p}": (i, p) for name, i in images.items() for p in range(6)} if everywhere else {}
        sent = copies or {name: (image, 0) for name, image in images.items()}
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            for name, (image, partition) in sent.items():
                headers = frame_headers(frame_id=name, camera=f"cam-{partition}", time=datetime.now(UTC), recipe="tile")
                await producer.send_and_wait(self.topics["frames"], image, headers=headers, partition=partition)
        self._sent += len(sent)
        results = await topics.read(self.kafka, self.topics["results"], self._sent, settle_s=0.2)
        return {r.json["frame_id"]: r.json for r in results if r.json["frame_id"] in sent}


class Worker(Service):
    def __init__(self, line: Line, *, tokens: dict[str, Any] | None = None) -> None:
        super().__init__(line.settings)
        http = f"http:\n  token: {TOKEN}\n  tokens: {json.dumps(tokens or {})}\n"
        self.settings_file.write_text(self.settings_file.read_text().replace("http:\n", http))

    def ask(self, path: str, body: dict[str, Any] | None = None, token: str = TOKEN) -> tuple[int, Any]:
        """Status and answer of a request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - an http address
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        return status, content if content[:1] not in b"{" else json.loads(content)

    def status(self, path: str) -> int:
        """The HTTP status of a page, 0 when nobody listens."""
        try:
            return self.ask(path)[0]
        except OSError:
            return 0

    def reach(self, generation: int) -> None:
        """Wait until it judges with a generation."""
        until = time.monotonic() + 60
        wanted = f'patchline_bank_generation{{recipe="tile"}} {generation}.0'
        while wanted not in self.ask("/metrics")[1].decode():
            assert time.monotonic() < until, f"never came to generation {generation}:\n{self.log}"
            time.sleep(0.05)


@pytest.fixture
def line(kafka: str, unique_name: Callable[[str], str], tmp_path: Path, good_images: Path) -> Line:
    patchline("fit", good_images, "--out", tmp_path / "tile", *FIT, "--false-reject-rate", 0.2, "--coreset", 0.2)
    return Line(kafka, unique_name, tmp_path, good_images)


async def eventually(ask: Callable[[], tuple[int, Any]]) -> Any:
    """The answer once it is there."""
    async with asyncio.timeout(60):
        while True:
            status, answer = ask()
            if status == 200:
                return answer
            await asyncio.sleep(0.05)


async def test_what_an_operator_confirms_passes_in_every_worker(line: Line) -> None:
    """A reject confirmed over Kafka, and one over HTTP, pass in both workers from the next generation on.

    Results name the generation; a restarted worker has it; what is unlearned is rejected again, by the bank of before.
    """
    with Worker(line) as first, Worker(line) as second:
        first.run()
        second.run()
        before = await line.judge({"red": RED, "blue": BLUE, "fine": png(part(99))})
        assert {name: r["verdict"] for name, r in before.items()} == {"red": "reject", "blue": "reject", "fine": "pass"}
        assert {r["generation"]["number"] for r in before.values()} == {1}
        await eventually(lambda: second.ask("/frames/red"))

        arguments = ("confirm", "red", "--recipe", "tile", "--good", "--operator", "ada", "--reason", "new paint")
        said = patchline(*arguments, "--settings", first.settings_file)
        assert "learned; generation 2 judges" in said
        assert "hides 0 of 0 known defects" in said
        for worker in (first, second):
            worker.reach(2)
        after = await line.judge({"red again": RED}, everywhere=True)
        assert {r["verdict"] for r in after.values()} == {"pass"}
        assert {r["generation"]["number"] for r in after.values()} == {2}

        check_http(second, before["blue"])
        feedback = {"recipe": "tile", "frame_id": "blue", "verdict": "confirm_good", "operator": "bob"}
        for _ in range(2):  # the same feedback, by its id, twice
            status, answer = second.ask("/feedback", feedback | {"feedback_id": "tap-1"})
            assert (status, answer) == (202, {"feedback_id": "tap-1"})
        reply = await eventually(lambda: second.ask("/feedback/tap-1"))
        assert reply["generation"]["number"] == 3
        second.reach(3)
        assert first.terminate() == 0, first.log

        with Worker(line) as again:
            again.run()
            again.reach(3)
            later = await line.judge({"both": BLUE, "red third": RED}, everywhere=True)
            assert {(r["verdict"], r["generation"]["number"]) for r in later.values()} == {("pass", 3)}
            undo = ("confirm", "red", "--recipe", "tile", "--unlearn", "--operator", "ada", "--token", TOKEN)
            assert "generation 4" in patchline(*undo, "--url", f"http://127.0.0.1:{again.port}")
            for worker in (again, second):
                worker.reach(4)
            last = await line.judge({"red": RED, "blue": BLUE}, everywhere=True)
            assert {(name[:3], r["verdict"]) for name, r in last.items()} == {("red", "reject"), ("blu", "pass")}
            assert again.terminate() == 0, again.log
        assert second.terminate() == 0, second.log


async def test_a_second_person_is_a_second_token(line: Line) -> None:
    """Over HTTP and Kafka: no other name lets through what was held, and no message that nobody signed."""
    tokens = {name: f"the-token-of-{name}-at-the-line" for name in ("kim", "lee")}
    line.settings["feedback"] = {
        "keys": {"line": {"key": "k" * 32, "roles": ["worker"]}, "ada": {"key": "a" * 32, "roles": ["operator"]}},
        "sign_with": "line",
    }
    named = {name: {"token": token, "roles": ["operator"]} for name, token in tokens.items()}
    with Worker(line, tokens=named) as worker:
        worker.run()
        await line.judge({"scratch": RED, "again": RED, "once more": RED})
        for name in ("scratch", "again", "once more"):
            await eventually(lambda name=name: worker.ask(f"/frames/{name.replace(' ', '%20')}"))  # type: ignore[misc]

        async def said(by: str, frame: str, verdict: str, operator: str) -> tuple[str, str]:
            given = {"recipe": "tile", "frame_id": frame, "verdict": verdict, "operator": operator}
            status, answer = worker.ask("/feedback", given, token=tokens[by])
            assert status == 202, answer
            reply = await eventually(lambda: worker.ask(f"/feedback/{answer['feedback_id']}"))
            assert reply["identity"] == by
            return reply["outcome"], reply.get("detail", "")

        assert (await said("kim", "scratch", "confirm_defect", "kim"))[0] == "learned"
        outcome, why = await said("kim", "again", "confirm_good", "kim")
        assert (outcome, "would hide 1 of 1 known defects" in why) == ("held", True)
        outcome, why = await said("kim", "again", "confirm_good", "lee")
        assert (outcome, "waits for another identity than 'kim'" in why) == ("refused", True)
        confirm = ("confirm", "again", "--recipe", "tile", "--good", "--operator", "zoe")
        done = await asyncio.to_thread(ends, *confirm, "--settings", worker.settings_file)
        assert (done.returncode, "anybody may have sent this" in done.stdout) == (1, True), done.stderr
        assert (await said("lee", "again", "confirm_good", "lee"))[0] == "learned"
        assert (await said("lee", "once more", "unlearn", "lee"))[0] == "refused"  # it is unknown
        assert worker.terminate() == 0, worker.log


def ends(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """A command, run to its end, whatever that is."""
    command = [PATCHLINE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check_http(worker: Worker, blue: dict[str, Any]) -> None:
    """Without the token nothing; with it the preview, the image, its map, the explanation; errors say what is wrong."""
    assert worker.ask("/frames/blue", token="guess")[0] == 401  # noqa: S106 - a wrong one
    assert worker.ask("/feedback", {}, token="")[0] == 401
    assert worker.ask("/frames/blue") == (200, BLUE)
    assert worker.ask("/frames/blue?map=1")[1][:4] == b"\x89PNG"
    assert worker.ask("/frames/nobody")[0] == 404
    status, preview = worker.ask("/recipes/tile/preview?frame=blue")
    assert (status, preview["hidden"], preview["hold"]) == (200, [], None)
    assert preview["rows_added"] > 0
    status, why = worker.ask("/explanations/blue")
    assert (status, why["score"], why["worst"]) == (200, blue["score"], blue["worst"])
    assert why["nearest"]["frame_id"].endswith(".png")
    for crop in (why["crop_png"], why["nearest"]["crop_png"]):
        assert cv2.imdecode(np.frombuffer(base64.b64decode(crop), np.uint8), cv2.IMREAD_COLOR) is not None
    status, refused = worker.ask("/feedback", {"recipe": "tile", "frame_id": "blue", "verdict": "maybe"})
    assert (status, "Invalid enum value 'maybe'" in refused["error"]) == (400, True)
