"""The service as a process: what it does when its sources end, and when it is told to stop."""

import fcntl
import gc
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from patchline.ops.service.service import _Settled
from tests.ops.conftest import PATCHLINE, installed, patchline
from tests.services.process import free_port

SILENT_CAMERA = "rtsp://admin:topsecret@127.0.0.1:9/nobody"


def write_settings(folder: Path, bank: Path, cameras: dict[str, Any], **more: Any) -> tuple[Path, Path, int]:
    """A settings file; the file its results go to, and its HTTP port."""
    results, port = folder / "results.jsonl", free_port()
    settings = {
        "recipes": {"tile": {"bank": str(bank)}},
        "cameras": cameras,
        "sinks": {"jsonl": str(results)},
        "http": {"port": port},
        "log": {"format": "json"},
        **more,
    }
    file = folder / "line.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file, results, port


def wait_for(process: "subprocess.Popen[str]", port: int, path: str = "/readyz") -> None:
    """Wait until the service answers with 200, as long as it lives."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{path} never answered with 200")


def test_a_folder_is_inspected_to_its_end(bank: Path, parts: Path, tmp_path: Path) -> None:
    """Every image of a folder gives one line, with the verdict and score of `patchline inspect`; the end is exit 0."""
    camera = {"source": "folder", "recipe": "tile", "path": str(parts / "test"), "recursive": True}
    file, results, _ = write_settings(tmp_path, bank, {"belt": camera})
    done = installed("run", file)
    assert done.returncode == 0, done.stderr
    streamed = {r["frame_id"]: r for r in map(json.loads, results.read_text().splitlines())}
    lines = patchline("inspect", bank, parts / "test", "--recursive").stdout.splitlines()
    inspected = {str(Path(r["frame_id"]).relative_to(parts / "test")): r for r in map(json.loads, lines)}
    assert len(streamed) == 8
    said = ("verdict", "score", "threshold", "generation", "worst")
    assert {i: [r[k] for k in said] for i, r in streamed.items()} == {
        i: [r[k] for k in said] for i, r in inspected.items()
    }
    assert {r["camera"] for r in streamed.values()} == {"belt"}


def test_a_service_without_kafka_has_alarms(
    bank: Path, parts: Path, tmp_path: Path, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    """Judged frames reach Redis by the journal: what Redis could not take in one run, it has after the next."""
    camera = {"source": "folder", "recipe": "tile", "path": str(parts / "test"), "recursive": True}
    prefix = unique_name("alarms") + ":"
    more = {"alarms": {"rejects": 1, "passes": 1, "journal": str(tmp_path / "alarms")}}
    away, here = ({"url": url, "prefix": prefix} for url in ("redis://127.0.0.1:9/0", redis_url))
    file, results, _ = write_settings(tmp_path, bank, {"belt": camera}, redis=away, **more)
    done = installed("run", file)
    assert done.returncode == 0, done.stderr
    assert "not applied yet" in done.stderr
    rejected = [r["frame_id"] for r in map(json.loads, results.read_text().splitlines()) if r["verdict"] == "reject"]
    assert rejected
    file, _, _ = write_settings(tmp_path, bank, {"belt": {**camera, "path": str(parts / "train")}}, redis=here, **more)
    done = installed("run", file)
    assert done.returncode == 0, done.stderr
    with redis.from_url(redis_url, decode_responses=True) as client:
        events = [json.loads(fields["event"]) for _, fields in client.xrange(f"{prefix}alarms")]
    assert (events[0]["change"], events[0]["frame_id"]) == ("raised", rejected[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_in_order(bank: Path, tmp_path: Path, number: signal.Signals) -> None:
    """While a camera is waited for, a signal ends the service with 0; its login is nowhere in the log."""
    camera = {"source": "rtsp", "recipe": "tile", "url": SILENT_CAMERA}
    file, _, port = write_settings(tmp_path, bank, {"gate": camera})
    process = subprocess.Popen([PATCHLINE, "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(process, port)
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
        process.send_signal(number)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, log
    changes = [line["now"] for line in map(json.loads, log.splitlines()) if line["event"] == "log level changed"]
    assert changes == ["debug", "info"]
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events.index("draining") < events.index("no longer taking frames") <= events.index("stopped in order")
    assert "topsecret" not in log
    assert "nothing listens at 127.0.0.1:9" in log


def test_a_signal_while_starting_ends_the_service(bank: Path, tmp_path: Path) -> None:
    """While the broker is away the service is healthy but not ready, and the first signal ends it with 0."""
    kafka = {"bootstrap": f"127.0.0.1:{free_port()}"}
    file, _, port = write_settings(tmp_path, bank, {}, kafka=kafka)
    process = subprocess.Popen([PATCHLINE, "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(process, port, "/healthz")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_bad_settings_are_refused_before_anything_starts(bank: Path, tmp_path: Path) -> None:
    """`run` checks first: exit 2, every problem named, nothing listening."""
    file, _, _ = write_settings(tmp_path, bank, {"gate": {"source": "folder", "recipe": "tiel", "path": "/nowhere"}})
    done = installed("run", file)
    assert done.returncode == 2
    assert "did you mean 'tile'?" in done.stderr
    assert "/nowhere" in done.stderr


def test_a_second_signal_forces_the_end(bank: Path, parts: Path, tmp_path: Path) -> None:
    """While results wait for a reader who does not read, the first signal waits and the second ends it with 1."""
    camera = {"source": "folder", "recipe": "tile", "path": str(parts), "recursive": True}
    file, results, port = write_settings(tmp_path, bank, {"belt": camera})
    os.mkfifo(results)
    reader = os.open(results, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)  # less than the results of the folder's 24 images
    log_file = tmp_path / "log"
    with log_file.open("w") as log:
        process = subprocess.Popen([PATCHLINE, "run", str(file)], stderr=log)
    try:
        wait_until(process, log_file, lambda: received(port) == 24)
        process.send_signal(signal.SIGTERM)
        wait_until(process, log_file, lambda: "draining" in log_file.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1, log_file.read_text()
    finally:
        process.kill()
        os.close(reader)
    assert "stopping at once" in log_file.read_text()


def test_a_rotation_of_logs_is_followed_on_sighup(bank: Path, tmp_path: Path) -> None:
    """The files are made anew at once, and the service goes on; nothing else comes of the signal."""
    camera = {"source": "rtsp", "recipe": "tile", "url": SILENT_CAMERA}
    log_file = tmp_path / "log"
    log_file.touch()
    settings = {"format": "json", "file": str(log_file)}
    file, results, _ = write_settings(tmp_path, bank, {"gate": camera}, log=settings)
    process = subprocess.Popen([PATCHLINE, "run", str(file)], stderr=subprocess.PIPE)
    try:
        wait_until(process, log_file, lambda: "taking frames" in log_file.read_text())
        for written in (log_file, results):
            written.rename(written.with_suffix(".1"))
        process.send_signal(signal.SIGHUP)
        wait_until(process, log_file.with_suffix(".1"), lambda: log_file.exists() and results.exists())
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, printed) == (0, b"")
    before, after = (
        [json.loads(line)["event"] for line in one.read_text().splitlines()]
        for one in (log_file.with_suffix(".1"), log_file)
    )
    assert "taking frames" in before
    assert after[-1] == "stopped in order"
    assert "files reopened" in before + after


def catches(process: "subprocess.Popen[bytes]", number: signal.Signals) -> bool:
    """Whether a process handles a signal by now, as Linux tells."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_sigterm_at_any_moment_ends_in_order(bank: Path, parts: Path, tmp_path: Path) -> None:
    """While it loads, while frames are in flight, while their end has just come: always 0, and each line once."""
    folder = {"source": "folder", "recipe": "tile", "path": str(parts), "recursive": True}
    silent = {"source": "rtsp", "recipe": "tile", "url": SILENT_CAMERA}
    chance = random.Random(1)
    for attempt, longest_s in enumerate((0.0, 2.0, 5.0, 8.0, 12.0)):
        place = tmp_path / str(attempt)
        place.mkdir()
        cameras = {"belt": folder} if attempt == 4 else {"belt": folder, "gate": silent}
        file, results, _ = write_settings(place, bank, cameras)
        with (place / "log").open("w") as log:
            process = subprocess.Popen([PATCHLINE, "run", str(file)], stderr=log)
        try:
            wait_until(process, place / "log", partial(catches, process, signal.SIGTERM))
            time.sleep(chance.uniform(longest_s / 2, longest_s))
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0, (attempt, (place / "log").read_text())
        finally:
            process.kill()
        lines = results.read_text().splitlines() if results.exists() else []
        frames = [json.loads(line)["frame_id"] for line in lines]
        assert len(frames) == len(set(frames)) <= 24


def received(port: int) -> float:
    """How many frames the service has read; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    return sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("patchline_frames_received_total{")
    )


def wait_until(process: "subprocess.Popen[bytes]", log_file: Path, holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, as long as the service lives."""
    until = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, log_file.read_text()
        assert time.monotonic() < until, log_file.read_text()
        time.sleep(0.1)


def test_what_was_made_before_the_first_frame_is_no_garbage() -> None:
    """No collection looks at it until the last one has been taken."""
    settled = _Settled()
    try:
        settled.ready(True)
        assert gc.get_freeze_count() > 10_000
    finally:
        settled.ready(False)
    assert gc.get_freeze_count() == 0
