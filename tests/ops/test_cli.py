"""The command line."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from patchline.ops.cli import run_command
from tests.ops.conftest import FIT, PATCHLINE, installed, patchline, texture


def test_help_does_not_import_torch() -> None:
    """`patchline --help` stays quick: no torch, FAISS, matplotlib or OpenCV."""
    script = (
        "import sys, contextlib\nfrom patchline.ops.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "sys.exit(','.join({'torch', 'faiss', 'matplotlib', 'cv2', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", [["fit"], ["inspect"], ["evaluate"], ["run"], ["check"], ["settings"], ["demo"], ["alarms", "ack"]]
)
def test_every_command_shows_examples(command: list[str]) -> None:
    """The help of every command ends with examples."""
    done = patchline(*command, "--help")
    assert done.returncode == 0
    assert f"patchline {' '.join(command)}" in done.stdout.partition("Examples")[2]


def test_version() -> None:
    """`--version` prints name and version."""
    assert installed("--version").stdout.startswith("patchline 0.")


def test_fit_refuses_to_overwrite(bank: Path, parts: Path) -> None:
    """A second fit to the same folder changes nothing and exits with 2."""
    before = _contents(bank)
    done = patchline("fit", parts / "train" / "good", "--out", bank, *FIT)
    assert done.returncode == 2
    assert "holds a memory bank already" in done.stderr
    assert _contents(bank) == before


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--false-reject-rate", "1.5"], "--false-reject-rate: 1.5"),
        (["--least-rows", "-1"], "--least-rows: -1; expected 0 or more rows"),
        (["--size", "12"], "--size"),
        (["--coreset", "2"], "--coreset"),
        (["--weights", "file:/nowhere/weights.pth"], "/nowhere/weights.pth"),
        (["--mean", "1,2"], "--mean"),
        (["--calibration", "/nowhere"], "/nowhere"),
        (["--scratch", "/nowhere"], "--scratch: /nowhere: no such folder"),
        (["--projection", "0"], "--projection: 0; expected 1 or more"),
        (["--projection", "999", "--false-reject-rate", "0.2"], "projection is 999, expected at most 192"),
        (["--tile", "16"], "--tile: 16; expected 32 pixels or more"),
        (["--tile", "36", "--false-reject-rate", "0.2"], "expected a multiple of 8"),
        (["--tile", "32", "--overlap", "20"], "--overlap: 20; expected pixels from 0 to 16"),
        (["--overlap", "20"], "give --tile"),
    ],
)
def test_fit_explains_bad_input(parts: Path, tmp_path: Path, options: list[str], said: str) -> None:
    """What cannot be fitted is one message that names the option, exit status 2 and no traceback."""
    done = patchline("fit", parts / "train" / "good", "--out", tmp_path / "bank", *FIT, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bank").exists()


def test_a_rate_out_of_reach_is_said_loudly_with_the_command(parts: Path, tmp_path: Path) -> None:
    """The bank is fitted for the lowest rate in reach; what was asked for, what it takes and how are on stderr."""
    out = tmp_path / "bank"
    done = patchline("fit", parts / "train" / "good", "--out", out, *FIT, "--coreset", 0.05)
    assert done.returncode == 0, done.stderr
    said = "A FALSE-REJECT RATE OF 0.05 CANNOT BE AIMED AT with 12 good images: the threshold aims at 0.077"
    assert said in done.stderr
    assert "0.05 takes 19 images: 7 more than these, or 19 further ones in FOLDER" in done.stderr
    assert f"patchline fit {parts / 'train' / 'good'} --out {out}-0.05 --backbone resnet18" in done.stderr
    assert "one frame decides" in done.stderr
    recipe = json.loads((out / "generation-000001.json").read_text())["recipe"]
    assert recipe["false_reject_rate"] == 0.077


def test_images_of_the_fit_are_refused_for_calibration(parts: Path, tmp_path: Path) -> None:
    """The same folder for both would promise a rate and reject nearly everything: it is an error with a name."""
    good = parts / "train" / "good"
    done = patchline("fit", good, "--out", tmp_path / "bank", *FIT, "--calibration", good)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--calibration: 12 of 12 images are also in the fit" in " ".join(done.stderr.split())
    assert not (tmp_path / "bank").exists()


def test_fit_in_tiles_with_a_projected_coreset(parts: Path, tmp_path: Path) -> None:
    """Tiles, projection and the rest are taken from the options; the bank inspects images in the same tiles."""
    out = tmp_path / "sheet"
    sizes = ("--tile", 32, "--overlap", 8, "--projection", 16, "--coreset", 0.2)
    options = (*sizes, "--runtime", "torch", "--precision", "float32", "--scratch", tmp_path)
    done = patchline("fit", parts / "train" / "good", "--out", out, *FIT, "--false-reject-rate", 0.2, *options)
    assert (done.returncode, done.stderr) == (0, "")
    recipe = json.loads((out / "generation-000001.json").read_text())["recipe"]
    assert recipe["tiling"] == {"tile_px": 32, "overlap_px": 8}
    assert recipe["projection"] == 16
    assert sorted(tmp_path.iterdir()) == [out, tmp_path / "sheet-look-first"]  # temporary files are gone
    done = patchline("inspect", out, parts / "test" / "spot" / "080.png", "--runtime", "torch")
    assert json.loads(done.stdout)["verdict"] == "reject", done.stderr


def test_inspect_writes_verdicts_and_overlays(bank: Path, parts: Path, tmp_path: Path) -> None:
    """Each image gives one line of JSON, in order; unreadable ones say why; overlays are PNGs of what was judged."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    overlays = tmp_path / "overlays"
    good, spotted = parts / "test" / "good" / "050.png", parts / "test" / "spot" / "080.png"
    done = patchline("inspect", bank, good, spotted, broken, "--overlays", overlays)
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [v["frame_id"] for v in verdicts] == [str(good), str(spotted), str(broken)]
    assert [v["verdict"] for v in verdicts][1:] == ["reject", "not_inspected"]
    assert verdicts[2]["reason"] == "not_an_image"
    assert verdicts[1]["score"] > verdicts[1]["threshold"] > 0
    box = verdicts[1]["worst"]
    assert 20 <= box["top_px"] + box["height_px"] / 2 <= 64  # on the spot, or the half patch around it
    assert {path.name for path in overlays.iterdir()} == {"050.png", "080.png"}
    with PillowImage.open(overlays / "080.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 2 * 80


def test_evaluate_gives_the_verdicts_of_inspect(bank: Path, parts: Path, tmp_path: Path) -> None:
    """The figures cover every image, and each verdict and score is the one that `inspect` gives."""
    done = patchline("evaluate", bank, parts, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["image_auroc"] == 1.0
    assert figures["by_defect"]["spot"]["frames"] == 4
    assert figures["pixel_auroc"] > 0.9
    assert figures["aupro"] > 0.5
    assert {"roc.png", "scores.png"} <= {path.name for path in tmp_path.iterdir()}
    evaluated = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    inspected = patchline("inspect", bank, parts / "test" / "spot", parts / "test" / "good").stdout.splitlines()
    assert all(v["score_ratio"] == v["score"] / v["threshold"] for v in evaluated)
    assert all((v["p_value"] <= 0.2) == (v["verdict"] == "reject") for v in evaluated)
    assert min(v["p_value"] for v in evaluated) == 1 / 13  # of 12 good images
    said = ("frame_id", "verdict", "score", "threshold", "score_ratio", "p_value", "generation", "worst")
    key = ["frame_id"]
    assert sorted(([v[k] for k in said] for v in evaluated), key=str) == sorted(
        ([v[k] for k in said] for v in map(json.loads, inspected)), key=str
    ), key


def test_inspect_takes_names_that_are_no_utf_8(bank: Path, parts: Path, tmp_path: Path) -> None:
    """Each file gets its verdict, under a name that JSON can hold, and its overlay."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"m\xfcller.png", b"m\xf6ller.png"):
        shutil.copy(parts / "test" / "good" / "050.png", folder / os.fsdecode(name))
    done = patchline("inspect", bank, folder, "--out", tmp_path / "v.jsonl", "--overlays", tmp_path / "overlays")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    verdicts = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [v["frame_id"] for v in verdicts] == [f"{folder}/m\\udc{byte}ller.png" for byte in ("f6", "fc")]
    assert len(list((tmp_path / "overlays").iterdir())) == 2


def test_evaluate_prints_kinds_as_they_are_called(bank: Path, parts: Path, tmp_path: Path) -> None:
    """Brackets, colons and `$` in a folder's name are no markup, and a name that is no UTF-8 is escaped; each is in
    the table, in the JSON and among the overlays.
    """
    kinds = {b"hole [deep]": "hole [deep]", b"a :key:": "a :key:", b"$\\frac$": "$\\frac$", b"_r\xfc": "_r\\udcfc"}
    shutil.copytree(parts / "test" / "good", tmp_path / "set" / "test" / "good")
    for kind in kinds:
        for folder in ("test", "ground_truth"):
            shutil.copytree(parts / folder / "spot", tmp_path / "set" / folder / os.fsdecode(kind))
    done = patchline("evaluate", bank, tmp_path / "set", "--out", tmp_path / "[red]out", "--overlays")
    assert done.returncode == 0, done.stderr
    assert all(kind in done.stdout for kind in kinds.values())
    assert "[red]out" in done.stdout
    figures = json.loads((tmp_path / "[red]out" / "evaluation.json").read_text(encoding="utf-8"))
    assert {kind: found["frames"] for kind, found in figures["by_defect"].items()} == dict.fromkeys(kinds.values(), 4)
    assert {path.name for path in (tmp_path / "[red]out" / "overlays").iterdir()} == {"good", *kinds.values()}


def test_what_is_passed_over_is_said(bank: Path, parts: Path, tmp_path: Path) -> None:
    """Other formats, linked folders and subfolders give no verdict, and a word each on standard error."""
    folder = tmp_path / "in"
    shutil.copytree(parts / "test" / "spot", folder / "below")
    (folder / "0.webp").write_bytes(b"")
    (folder / "lot").symlink_to(parts / "test" / "good")
    shutil.copy(parts / "test" / "good" / "050.png", folder)
    done = patchline("inspect", bank, folder)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert f"note: {folder}: 2 subfolders with images not looked into" in done.stderr
    assert "1 file of other formats left out: 1 .webp (0.webp)" in done.stderr
    assert "1 linked folder not looked into: lot" in patchline("inspect", bank, folder, "--recursive").stderr


def test_evaluate_tells_escapes_without_good_images_and_of_black_masks(bank: Path, parts: Path, tmp_path: Path) -> None:
    """What cannot be told is '-'; a mask without a white pixel is counted and said."""
    shutil.copytree(parts / "test" / "spot", tmp_path / "set" / "test" / "spot")
    shutil.copytree(parts / "ground_truth" / "spot", tmp_path / "set" / "ground_truth" / "spot")
    black = np.zeros((96, 80), dtype=np.uint8)
    PillowImage.fromarray(black).save(tmp_path / "set" / "ground_truth" / "spot" / "080_mask.png")
    done = patchline("evaluate", bank, tmp_path / "set", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "escapes: 0 of 4 defective frames pass" in done.stdout
    assert "1 defective images have a black mask" in done.stdout


def test_a_full_disk_is_one_message(bank: Path, parts: Path) -> None:
    """Whether the file of verdicts or standard output cannot take more."""
    done = patchline("inspect", bank, parts / "test" / "good", "--out", "/dev/full")
    assert (done.returncode, "/dev/full: cannot be written: No space left on device" in done.stderr) == (1, True)
    with Path("/dev/full").open("w") as full:
        command = [PATCHLINE, "bank", "log", str(bank)]
        printed = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert printed.returncode == 1
    assert printed.stderr == "error: output: cannot be written: No space left on device\n"


ENDS = """
import atexit, sys, threading, time
from patchline.ops import cli
atexit.register(lambda: print("closed"))
def command() -> None:
    print("done")
    {ends}
cli.run_command = command
for daemon in (False, True):
    threading.Thread(target=time.sleep, args=(600,), daemon=daemon).start()
cli.main()
"""


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a sentence')", 1, "a sentence\n"),
        ("raise ValueError('unforeseen')", 1, "ValueError: unforeseen"),
        ("atexit.register(time.sleep, 600)", 0, ""),
        ("atexit.register(sys.exit, 7)", 0, ""),
    ],
)
def test_the_process_leaves_with_its_code_once_all_is_written(ends: str, code: int, said: str) -> None:
    """Whatever threads still do, and what hangs at the end: what registered itself is called, output is flushed."""
    script = ENDS.format(ends=ends)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ("done\n" if "time.sleep" in ends else "done\nclosed\n")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_fails_for_no_name(encoding: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a terminal's encoding does not know, or what is no UTF-8, is escaped in tables and messages."""
    folder = tmp_path / os.fsdecode(b"m\xfc\xc3\xbc")
    shutil.copytree(bank, folder)
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "argv", ["patchline", "bank", "show", str(folder)])
    with pytest.raises(SystemExit) as ended:
        run_command()
    screen.flush()
    printed = screen.buffer.getvalue().decode(encoding)
    assert (ended.value.code, "m\\udcfc" in "".join(printed.split())) == (0, True)


def test_evaluate_without_masks_says_why_figures_are_missing(bank: Path, tmp_path: Path) -> None:
    """Where no mask is there, pixel figures are '-' with the reason, and the others stand."""
    for kind, spot in (("good", False), ("spot", True)):
        (tmp_path / "set" / "test" / kind).mkdir(parents=True)
        PillowImage.fromarray(texture(90, spot=spot)).save(tmp_path / "set" / "test" / kind / "0.png")
    done = patchline("evaluate", bank, tmp_path / "set", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "pixel auroc: - (no ground-truth masks were given)" in done.stdout
    assert "1.0000" in done.stdout


def test_evaluate_refuses_another_layout(bank: Path, parts: Path, tmp_path: Path) -> None:
    """A folder without test/good is refused with the layout that was expected."""
    done = patchline("evaluate", bank, parts / "train" / "good", "--out", tmp_path)
    assert done.returncode == 2
    assert "test/good and test/DEFECT" in done.stderr


def test_fit_in_8_bits(parts: Path, tmp_path: Path) -> None:
    """The fit says what it measured beside float32, the bank states it, and whoever asks for float32 is refused."""
    out = tmp_path / "int8"
    rate = ("--false-reject-rate", 0.2, "--coreset", 0.2, "--score-patches", 20)  # a mean holds on noise, too
    done = patchline("fit", parts / "train" / "good", "--out", out, *FIT, *rate, "--precision", "int8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "int8: beside float32 the score of a held-out good frame moves by at most" in " ".join(done.stdout.split())
    backbone = json.loads((out / "generation-000001.json").read_text())["recipe"]["backbone"]
    assert backbone["precision"] == "int8"
    assert backbone["ranges"]
    assert "int8" in patchline("bank", "show", out).stdout
    spotted = parts / "test" / "spot" / "080.png"
    assert json.loads(patchline("inspect", out, spotted).stdout)["verdict"] == "reject"
    refused = patchline("inspect", out, spotted, "--precision", "float32")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "precision float32 would give other scores; expected auto" in " ".join(refused.stderr.split())


def test_fit_in_the_least_precision_that_holds(parts: Path, tmp_path: Path) -> None:
    """Whichever is taken, the bank is whole, and each precision below it is passed over with a reason."""
    out = tmp_path / "lowest"
    rate = ("--false-reject-rate", 0.2, "--coreset", 0.2)
    done = patchline("fit", parts / "train" / "good", "--out", out, *FIT, *rate, "--precision", "lowest")
    assert done.returncode == 0, done.stderr
    stated = json.loads((out / "generation-000001.json").read_text())["recipe"]["backbone"]
    taken = stated.get("precision", "float32")
    assert done.stderr.count("Not taken: ") == ["int8", "bfloat16", "float32"].index(taken)
    assert patchline("bank", "verify", out).returncode == 0
