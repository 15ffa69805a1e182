"""Settings that change while the service runs: taken or refused as one, and what is not touched loses no frame."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

from patchline.ops.service import reloading
from patchline.ops.service.settings_change import SettingsChange
from patchline.ops.settings.model import Settings
from tests.ops.conftest import PATCHLINE
from tests.ops.service.test_service import write_settings

TOKEN = "an-engineer-may-do-this"  # noqa: S105 - of this test alone


class Line:
    """A service with two live cameras, whose settings are written anew."""

    def __init__(self, folder: Path, bank: Path, urls: dict[str, str]) -> None:
        cameras = {name: {"source": "rtsp", "recipe": "tile", "url": url} for name, url in urls.items()}
        self.file, self.results, self.port = write_settings(folder, bank, cameras)
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = yaml.safe_load(self.file.read_text())
        self.settings["http"]["tokens"] = {"eve": {"token": TOKEN, "roles": ["engineer"]}}
        self.write()
        self.process = subprocess.Popen(
            [PATCHLINE, "run", str(self.file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def write(self) -> None:
        """Put the settings in the file's place as a whole, as editors and Kubernetes do."""
        other = self.file.with_suffix(".new")
        other.write_text(yaml.safe_dump(self.settings))
        other.rename(self.file)

    def ask(self, path: str, *, method: str = "GET") -> tuple[int, str]:
        answer = httpx.request(method, self.url + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        return answer.status_code, answer.text

    def metric(self, name: str) -> float:
        lines = [line for line in self.ask("/metrics")[1].splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[1])

    def frames(self, camera: str) -> list[str]:
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        return [each["frame_id"] for each in map(json.loads, lines) if each["camera"] == camera]

    def until_frames(self, camera: str, more: int = 1) -> None:
        """Wait for so many results of a camera beyond those that there are."""
        wanted, until = len(self.frames(camera)) + more, time.monotonic() + 60
        while len(self.frames(camera)) < wanted:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, f"no more frames of {camera}"
            time.sleep(0.05)


@pytest.fixture
def camera_url(parts: Path, rtsp_server: Callable[..., str]) -> str:
    return rtsp_server(parts / "train" / "good", frames_per_s=5, loop=True)


@pytest.fixture
def line(tmp_path: Path, bank: Path, camera_url: str) -> Iterator[Line]:
    made = Line(tmp_path, bank, {"stays": camera_url, "goes": camera_url})
    try:
        wait_for_engineer(made)
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def wait_for_engineer(line: Line) -> None:
    until = time.monotonic() + 120
    while line.process.poll() is None and time.monotonic() < until:
        try:
            if line.ask("/readyz")[0] == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(line.process.communicate())


async def test_what_else_is_written_in_the_folder_wakes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and logs may lie beside the settings: a line for each change there would be a change again."""
    looks: list[Path] = []

    def state_of(file: Path) -> tuple[object, ...]:
        looks.append(file)
        return ()

    async def apply(_: Settings, __: SettingsChange) -> None:
        raise AssertionError("nothing changed")

    monkeypatch.setattr(reloading, "_state_of", state_of)
    file = tmp_path / "patchline.yaml"
    file.touch()
    settings = Settings.model_validate({"recipes": {"tile": {"bank": "tile"}}, "cameras": {}})
    watching = asyncio.create_task(reloading.Reloading(file, settings, apply, CollectorRegistry()).watch())

    async def look(more: int) -> None:
        async with asyncio.timeout(30):
            while len(looks) < more:
                file.touch()
                await asyncio.sleep(0.2)

    await look(2)
    await asyncio.sleep(0.5)  # for what is under way
    before = len(looks)
    for number in range(10):
        (tmp_path / "log.txt").write_text(str(number))
        await asyncio.sleep(0.1)
    assert len(looks) == before
    (tmp_path / "..data").touch()
    async with asyncio.timeout(30):
        while len(looks) == before:
            await asyncio.sleep(0.05)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_cameras_come_and_go_and_what_is_not_touched_loses_no_frame(line: Line, camera_url: str) -> None:
    """Told by the file itself, by SIGHUP and over HTTP; what is wrong is refused, and the old settings go on."""
    assert httpx.post(f"{line.url}/-/reload", timeout=30).status_code == 401
    assert line.ask("/-/reload", method="POST") == (200, "{}")
    line.until_frames("stays")
    line.until_frames("goes")
    cameras = line.settings["cameras"]
    del cameras["goes"]
    cameras["comes"] = {"source": "rtsp", "recipe": "tile", "url": camera_url}
    line.write()
    line.until_frames("comes")
    gone = len(line.frames("goes"))
    for bad, said in (
        ({"recipe": "tiel"}, "did you mean 'tile'"),
        ({"transport": "pigeon"}, "cameras.comes.transport"),
        ({"alarms": {"rejects": 2}}, "cameras.comes.alarms: changes only with a start"),
    ):
        good = dict(cameras["comes"])
        cameras["comes"] |= bad
        line.write()
        status, answer = line.ask("/-/reload", method="POST")
        assert status == 409
        assert said in answer
        assert line.metric("patchline_settings_last_reload_successful") == 0
        cameras["comes"] = good
    cameras["comes"]["read_timeout_s"] = 4.0
    line.write()
    line.process.send_signal(signal.SIGHUP)
    status, answer = line.ask("/-/reload", method="POST")
    assert (status, json.loads(answer).get("problems", [])) == (200, [])
    assert line.metric("patchline_settings_last_reload_successful") == 1
    line.until_frames("comes", 3)
    line.until_frames("stays", 3)
    assert len(line.frames("goes")) == gone
    assert len({name.split("/")[1] for name in line.frames("comes")}) == 2, "a camera that changed was opened anew"
    stays = line.frames("stays")
    assert len({name.split("/")[1] for name in stays}) == 1, "a camera that was not touched was opened anew"
    line.process.send_signal(signal.SIGTERM)
    assert line.process.wait(60) == 0
    numbers = [int(name.split("/")[2]) for name in line.frames("stays")]
    assert numbers == sorted(numbers)


def test_a_folder_behind_a_link_that_turns_is_watched(tmp_path: Path, bank: Path, camera_url: str) -> None:
    """As Kubernetes mounts a ConfigMap: the file is a link through a folder's link, and that is what changes."""
    line = Line(tmp_path, bank, {"stays": camera_url})
    line.process.kill()
    line.process.communicate()
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        if version == "v2":
            line.settings["cameras"]["comes"] = line.settings["cameras"]["stays"]
        (tmp_path / version / "line.yaml").write_text(yaml.safe_dump(line.settings))
    line.file.unlink()
    (tmp_path / "..data").symlink_to("v1")
    line.file.symlink_to("..data/line.yaml")
    line.process = subprocess.Popen([PATCHLINE, "run", str(line.file)], stderr=subprocess.PIPE, text=True)
    try:
        wait_for_engineer(line)
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        line.until_frames("comes")
    finally:
        line.process.kill()
        line.process.communicate()
