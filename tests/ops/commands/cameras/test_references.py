"""`patchline cameras reset`."""

from pathlib import Path

from patchline.stream.cameras.health.reference_files import ReferenceFiles
from tests.ops.conftest import patchline
from tests.stream.cameras.health.line import taught


def test_a_camera_is_forgotten_and_a_stranger_refused(tmp_path: Path) -> None:
    """Only of the camera that is named."""
    settings = tmp_path / "line.yaml"
    settings.write_text(
        f"recipes: {{plate: {{bank: {tmp_path}/bank}}}}\nhealth: {{folder: {tmp_path}/state}}\n"
        "cameras:\n  one: {source: rtsp, recipe: plate, url: 'rtsp://camera.example/1'}\n"
        "  two: {source: folder, recipe: plate, path: images}\n"
    )
    learned = taught().learned
    assert learned is not None
    learned.camera = "one"
    files = ReferenceFiles(tmp_path / "state")
    files.save(learned)
    done = patchline("cameras", "reset", "one", "--settings", str(settings))
    assert "one: forgotten" in done.stdout
    assert files.load("one") is None
    assert "nothing was learned" in patchline("cameras", "reset", "one", "--settings", str(settings)).stdout
    refused = patchline("cameras", "reset", "two", "--settings", str(settings))
    assert refused.returncode == 2
    assert "expected one of: one" in refused.stderr
