"""The demo as its user meets it: the command, its page in a browser, and the summary."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from patchline.ops.demo.lighting import Light
from patchline.ops.demo.line import Station, expose
from patchline.ops.demo.material import Role, load_material
from patchline.ops.demo.web import Web

pytestmark = pytest.mark.slow
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE_S = 240


def demo(*arguments: str) -> subprocess.Popen[str]:
    """`patchline demo` in a process of its own, its output a pipe."""
    command = [sys.executable, "-m", "patchline.ops.cli", "demo", "--false-reject-rate", "0.05", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end, which must be a good one, and give what was printed."""
    try:
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


@pytest.fixture
def browser_page() -> Iterator[Page]:
    """A page of a headless Chromium, in the size of a tablet."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("PATCHLINE_REQUIRE_SERVICES") == "1":
            pytest.fail("PATCHLINE_REQUIRE_SERVICES=1, and there is no chromium on the path")
        pytest.skip("no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_S * 1000)
        yield page
        browser.close()


def address(process: subprocess.Popen[str]) -> str:
    """The page's address, as the demo prints it."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Page: "):
            return line.split()[1]
    raise AssertionError("the demo ended before it named its page")


def test_the_page_shows_what_is_judged_and_a_signal_ends_it_well(browser_page: Page, tmp_path: Path) -> None:
    """The page shows the camera, its picture, the counts and the rejects with their reason, loads nothing from
    elsewhere, and ends with the run; what is confirmed there is learned; an interrupt drains, and the summary adds up.
    """
    summary_file = tmp_path / "summary.json"
    process = demo(
        *("--forever", "--material", "brick", "--port", "0", "--defects", "0.5", "--operator", "none"),
        *("--json", str(summary_file)),
    )
    try:
        url = address(process)
        requested: list[str] = []
        errors: list[str] = []
        browser_page.on("request", lambda request: requested.append(request.url))
        browser_page.on("pageerror", lambda error: errors.append(str(error)))
        browser_page.goto(url, wait_until="commit")
        card = browser_page.locator("#gallery .card").first
        card.wait_for()
        assert "the threshold" in card.inner_text()
        assert "Truth:" in card.inner_text()
        picture = browser_page.locator('.camera[data-name="brick"] img')
        browser_page.wait_for_function("node => node.complete && node.naturalWidth > 100", arg=picture.element_handle())
        assert int(browser_page.inner_text("#frames")) > 0
        assert int(browser_page.inner_text("#rejects")) > 0
        browser_page.wait_for_selector("#chart .mark.caught", state="attached")
        assert browser_page.locator("#chart .threshold").count() == 1
        browser_page.click('#filters button[data-show="caught"]')
        browser_page.locator("#gallery .confirm").first.click()
        browser_page.wait_for_function("document.getElementById('taps').textContent === '1'")
        process.send_signal(signal.SIGINT)
        output = finish(process)
        browser_page.wait_for_function(
            "['Finished', 'Stopping'].includes(document.getElementById('status').textContent)"
        )
    finally:
        process.kill()
    assert all(one.startswith((url, "data:", "blob:")) for one in requested)
    assert errors == []
    told = json.loads(summary_file.read_text())
    assert told["frames"] == told["good_frames"] + told["defective_frames"]
    assert told["rejects"] == told["caught"] + told["false_rejects"]
    assert told["not_inspected"] == 0
    assert (told["learned"]["brick"]["taps"], told["learned"]["brick"]["generation"]) == (1, 2)
    assert sum(row["planted"] for row in told["by_kind"]) == sum(row["planted"] for row in told["by_contrast"])
    assert "false rejects" in output


def test_the_same_seed_gives_the_same_counts(tmp_path: Path) -> None:
    """Two runs of one seed end with the same counts, kind by kind, and obvious defects are rejected."""
    told = []
    for run in ("first", "second"):
        summary_file = tmp_path / f"{run}.json"
        arguments = (
            "--material",
            "brick",
            "--frames",
            "60",
            "--rate",
            "0",
            "--defects",
            "0.5",
            "--no-page",
            "--seed",
            "3",
            "--operator",
            "none",
        )
        finish(demo(*arguments, "--json", str(summary_file)))
        told.append(json.loads(summary_file.read_text()))
    for key in ("frames", "rejects", "escapes", "false_rejects", "by_kind", "by_contrast", "banks"):
        assert told[0][key] == told[1][key], key
    assert told[0]["frames"] == 60
    assert told[0]["caught"] > 0


def good_frames(count: int) -> Iterator[np.ndarray]:
    station = Station(load_material("brick"), seed=0, defect_share=0.0, drift=1.0)
    return (image for _, image in station.good_images(Role.FIT, count))


def test_images_of_ones_own_are_fitted_and_streamed(tmp_path: Path) -> None:
    """Of 50 images of the user's 35 are fitted and 15 are inspected; no truth is claimed."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, image in enumerate(good_frames(50)):
        cv2.imwrite(str(folder / f"{number:03}.png"), image[:, :, ::-1])
    summary_file = tmp_path / "summary.json"
    output = finish(demo("--images", str(folder), "--rate", "0", "--no-page", "--json", str(summary_file)))
    told = json.loads(summary_file.read_text())
    assert told["frames"] == 15
    assert told["truth_known"] is False
    assert told["escapes"] is None
    assert "No truth is known" in output
    assert "35 images to fit, 15 to inspect." in output
    assert "aims to reject 0.05 of good frames" in output


def gravel_video(path: Path, frames: int) -> None:
    """Gravel passing by, 25 frames a second."""
    web = Web(load_material("gravel"), Role.STREAM, seed=0)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 280, 400, "yuv420p"
        for view in islice(web.views(), frames):
            image = cv2.imdecode(np.frombuffer(expose(view, Light(), rng), np.uint8), cv2.IMREAD_COLOR_RGB)
            assert image is not None
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8, copy=False), format="rgb24")))
        container.mux(stream.encode())


def test_a_video_of_ones_own_is_fitted_to_its_beginning(tmp_path: Path) -> None:
    """A video's first 135 frames are fitted and calibrated on; the rest, and only the rest, is inspected."""
    path, summary_file = tmp_path / "line.mp4", tmp_path / "summary.json"
    gravel_video(path, 155)
    finish(demo("--source", str(path), "--no-page", "--json", str(summary_file)))
    told = json.loads(summary_file.read_text())
    assert told["frames"] + told["dropped"] == 20


def test_a_camera_of_ones_own_is_fitted_to_its_first_frames(rtsp_server: Callable[..., str], tmp_path: Path) -> None:
    """A real RTSP server's stream is fitted and then inspected, live, for as many frames as asked."""
    folder, summary_file = tmp_path / "frames", tmp_path / "summary.json"
    folder.mkdir()
    for number, image in enumerate(good_frames(60)):
        cv2.imwrite(str(folder / f"{number:03}.jpg"), image[:, :, ::-1])
    url = rtsp_server(folder, codec="mjpeg", frames_per_s=20, size_px=(280, 400), loop=True)
    output = finish(demo("--source", url, "--frames", "12", "--no-page", "--json", str(summary_file)))
    told = json.loads(summary_file.read_text())
    assert told["frames"] == 12
    assert told["truth_known"] is False
    assert "Taking the first 135 frames" in output


def test_too_few_images_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    """A folder of three images is an error that says how many are needed."""
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
    process = demo("--images", str(tmp_path), "--no-page")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "found 3 images, expected at least 10" in output


def test_two_inputs_at_once_are_refused() -> None:
    """--images together with --source is an error before anything is fitted."""
    started = time.monotonic()
    process = demo("--images", ".", "--source", "rtsp://localhost/none")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, f"after {time.monotonic() - started:.0f} s"
    assert "expected one of them" in output
