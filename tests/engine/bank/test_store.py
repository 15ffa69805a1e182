"""Generations on disk: what was written is what is read, and nothing else is accepted."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import Fitted, RolledBack
from patchline.engine.bank.reader import REJECTS
from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.errors import BankFileError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.recipe import LATER_OPTIONS


@pytest.fixture
def saved(fitted: FitReport, tmp_path: Path) -> Path:
    save_bank(fitted.bank, tmp_path)
    return tmp_path


def tensors_file(directory: Path) -> Path:
    return next(directory.glob("*.safetensors"))


def test_round_trip(fitted: FitReport, saved: Path) -> None:
    """A bank reads back with the same rows, provenance, threshold and SHA-256."""
    bank = load_bank(saved)
    assert bank.sha256 == fitted.bank.sha256
    assert np.array_equal(bank.rows, fitted.bank.rows)
    assert bank.provenance(3) == fitted.bank.provenance(3)
    assert (bank.threshold, bank.covering_radius) == (fitted.bank.threshold, fitted.bank.covering_radius)
    assert bank.recipe == fitted.bank.recipe


def test_newest_generation(fitted: FitReport, saved: Path) -> None:
    """The highest manifest is the newest, older generations stay readable, and equal content has an equal SHA-256."""
    store = GenerationStore(saved)
    later = replace(fitted.bank, generation=2, created="2026-01-01T00:00:00Z")
    store.create(later, event=RolledBack(to=1), before=(store.manifest(), fitted.bank))
    assert (load_bank(saved).generation, load_bank(saved, 1).generation) == (2, 1)
    assert load_bank(saved).sha256 == load_bank(saved, 1).sha256


def test_releases_that_know_more_options_or_fewer_read_each_other(fitted: FitReport, saved: Path) -> None:
    """A later option is named only where it is in use; and a manifest that names all of them, or none, is whole."""
    path = saved / "generation-000001.json"
    manifest = json.loads(path.read_text())
    assert LATER_OPTIONS & manifest["recipe"].keys() == {"least_rows"}
    manifest["recipe"] = msgspec.to_builtins(fitted.bank.recipe)
    assert manifest["recipe"].keys() >= LATER_OPTIONS
    compact = json.dumps(manifest | {"checksum": ""}, separators=(",", ":"), ensure_ascii=False)
    manifest["checksum"] = hashlib.sha256(compact.encode()).hexdigest()
    path.write_text(json.dumps(manifest, indent=2))
    assert load_bank(saved).sha256 == fitted.bank.sha256


def test_a_generation_never_changes(fitted: FitReport, saved: Path) -> None:
    """Writing a generation that exists is refused, and leaves the first one as it was."""
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    other = replace(fitted.bank, covering_radius=fitted.bank.covering_radius + 1, scale=fitted.bank.scale * 2)
    with pytest.raises(BankFileError, match="exists already"):
        save_bank(other, saved)
    # Its tensors may lie there, named by no manifest.
    assert {path: path.read_bytes() for path in before} == before
    assert load_bank(saved).sha256 == fitted.bank.sha256


@pytest.mark.parametrize("kept", [0, 7, 0.5, -1])
def test_truncated_tensors(saved: Path, kept: float) -> None:
    """Tensors that lack bytes are called truncated, by name."""
    path = tensors_file(saved)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(BankFileError, match=rf"{path.name}: truncated"):
        load_bank(saved)


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    """One bit flipped anywhere in the tensors is refused as altered."""
    path = tensors_file(saved)
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(len(content), size=20):
        altered = bytearray(content)
        altered[position] ^= 1 << int(position) % 8
        path.write_bytes(altered)
        with pytest.raises(BankFileError, match=rf"{path.name}: altered"):
            load_bank(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 1e9),
        ("covering_radius", 0.0),
        ("scale", 1.0),
        ("grid", [99, 99]),
        ("rows", 3),
        ("sha256", "0" * 64),
        ("tensors_sha256", "0" * 64),
        ("generation", 7),
        ("frames", []),
        ("tensors", "../generation-000001.safetensors"),
        ("created", "2026-06-06"),
        ("event", {"event": "fitted", "operator": "someone else"}),
        ("unknown", 1),
    ],
)
def test_altered_manifest(saved: Path, key: str, value: object) -> None:
    """A manifest with any field changed is refused."""
    path = saved / "generation-000001.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(BankFileError):
        load_bank(saved)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated or not JSON"),
        (b"{}", "foreign"),
        (b"[1]", "foreign"),
        (b"\x89PNG", "not JSON"),
        (b'{"format": "patchline memory bank", "version": 99}', "version 99"),
        (b'{"format": "patchline memory bank", "version": 1}', "missing required field"),
    ],
)
def test_foreign_manifest(saved: Path, content: bytes, says: str) -> None:
    """A manifest that is none is refused with what it is instead."""
    path = saved / "generation-000001.json"
    path.write_bytes(content)
    with pytest.raises(BankFileError, match=says) as refusal:
        load_bank(saved)
    assert str(path) in str(refusal.value)


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    """An empty directory, a missing generation and missing tensors are each named."""
    with pytest.raises(BankFileError, match="holds no memory bank"):
        load_bank(tmp_path / "nothing")
    with pytest.raises(BankFileError, match="has no generation 5; it has 1"):
        load_bank(saved, 5)
    tensors_file(saved).unlink()
    with pytest.raises(BankFileError, match="cannot be read"):
        load_bank(saved)


def test_a_first_generation_is_what_can_be_saved(fitted: FitReport, tmp_path: Path) -> None:
    """Later ones follow a parent; the hint names the newest, and the manifest's path is returned."""
    with pytest.raises(BankFileError, match="expected generation 1, found 2: later ones follow a parent"):
        save_bank(replace(fitted.bank, generation=2), tmp_path / "bank")
    assert not (tmp_path / "bank").exists()
    assert save_bank(fitted.bank, tmp_path / "bank") == f"{tmp_path / 'bank'}/generation-000001.json"
    assert (tmp_path / "bank" / "HEAD").read_bytes() == b"1\n"
    event = GenerationStore(tmp_path / "bank").manifest().event
    assert event == Fitted(time=fitted.bank.created)


def test_each_generation_names_the_one_before(fitted: FitReport, saved: Path) -> None:
    """By its manifest's checksum; what stays is told by number, and written once."""
    store = GenerationStore(saved)
    first = store.manifest()
    kept = np.arange(len(fitted.bank.rows) - 1)
    rows = {name: getattr(fitted.bank, name)[kept] for name in ("rows", "row_frame", "row_patch")}
    later = replace(fitted.bank, generation=2, **rows)
    manifest = store.create(later, event=RolledBack(to=1), before=(first, fitted.bank), kept=kept)
    assert (manifest.before_sha256, first.before_sha256) == (first.checksum, "")
    assert (manifest.whole, manifest.frames, manifest.log) == (False, (), None)
    assert manifest.frames_kept == len(fitted.bank.frames)
    assert manifest.rows == len(kept)
    assert (saved / manifest.tensors).stat().st_size < (saved / first.tensors).stat().st_size / 2
    assert store.manifest(2) == manifest
    assert GenerationStore(saved).bank().sha256 == later.sha256
    assert (saved / "HEAD").read_bytes() == b"2\n"


def test_a_generation_is_whole_where_rows_cannot_be_told(fitted: FitReport, saved: Path) -> None:
    """Without `kept`, where frames are others than before, and every 32nd time; then it carries the log of events."""
    store = GenerationStore(saved)
    before = (store.manifest(), fitted.bank)
    kept = np.arange(len(fitted.bank.rows))
    second = store.create(replace(fitted.bank, generation=2), event=RolledBack(to=1), before=before)
    assert second.whole
    assert second.log is not None
    assert store.events(2) == (before[0].event, RolledBack(to=1))
    frames = (*reversed(fitted.bank.frames),)
    numbers = (len(frames) - 1 - fitted.bank.row_frame).astype(np.int32)
    turned = replace(fitted.bank, generation=3, frames=frames, row_frame=numbers)
    third = store.create(turned, event=RolledBack(to=1), before=(second, fitted.bank), kept=kept)
    assert (third.whole, third.frames_kept, third.frames) == (True, 0, frames)
    fourth = replace(turned, generation=4)
    assert not store.create(fourth, event=RolledBack(to=1), before=(third, turned), kept=kept).whole
    assert [flaw for _, flaw in store.verify()] == [None] * 4


def test_only_recent_rejects_keep_their_files(fitted: FitReport, saved: Path) -> None:
    """What a generation no longer names among its rejects is removed; frames that were learned stay."""
    store = GenerationStore(saved)
    patches = np.arange(256 * 192).reshape(256, 192).astype(np.int16) // 2
    old, new = (store.keep(name, patches + number, REJECTS) for number, name in enumerate(("old", "new")))
    learned = store.keep("learned", patches + 2)
    before = (store.manifest(), fitted.bank)
    store.create(replace(fitted.bank, generation=2), event=RolledBack(to=1), before=before, rejects=[new])
    assert [path.stem for path in (saved / "rejects").iterdir()] == [new.sha256]
    assert (saved / "frames" / f"{learned.sha256}.safetensors").exists()
    assert np.array_equal(store.patches(new, REJECTS), patches + 1)
    with pytest.raises(BankFileError, match="cannot be read"):
        store.patches(old, REJECTS)


def test_a_store_that_cannot_be_written_says_so(fitted: FitReport, tmp_path: Path) -> None:
    """Neither a bank nor a frame: the message names the path and the cause."""
    (tmp_path / "bank").write_text("a file, no folder")
    bare = replace(fitted.bank, calibration_patches=())
    with pytest.raises(BankFileError, match=r"generation-000001\.\w+\.safetensors: cannot be written"):
        save_bank(bare, tmp_path / "bank")
    with pytest.raises(BankFileError, match=r"frames/.*cannot be written"):
        GenerationStore(tmp_path / "bank").keep("a", np.zeros((1, 1), np.int16))


def test_every_32nd_generation_is_whole(fitted: FitReport, saved: Path) -> None:
    """Those between hold what changed: opening a bank reads 32 files at most."""
    store = GenerationStore(saved)
    manifest, bank = store.manifest(), fitted.bank
    kept, whole = np.arange(len(bank.rows)), []
    for number in range(2, 34):
        later = replace(bank, generation=number)
        manifest = store.create(later, event=RolledBack(to=1), before=(manifest, bank), kept=kept)
        bank = later
        if manifest.whole:
            whole.append(number)
            assert manifest.log is not None
            assert manifest.log.name.startswith("log-000032.")
    assert whole == [32]
    assert len(GenerationStore(saved).events(33)) == 33
