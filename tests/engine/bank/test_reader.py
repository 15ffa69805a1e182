"""Reading a chain: the newest generation whatever the hint says, events in order, flaws by generation."""

import hashlib
import os
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import ConfirmedGood, Fitted, StoredFrame
from patchline.engine.bank.manifest import encode_manifest
from patchline.engine.bank.reader import FRAMES, GenerationReader, frame_file
from patchline.engine.bank.store import WHOLE_EVERY, GenerationStore, generations, load_bank
from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from tests.engine.bank.forging import Json, forge
from tests.engine.learning_worlds import confirm, confirmation, new_store, patches, unlearn


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four generations."""
    folder = tmp_path_factory.mktemp("chain")
    learner = Learner.open(new_store(folder))
    for number in range(3):
        confirm(learner, confirmation(number))
    return folder


@pytest.fixture
def copy(chain: Path, tmp_path: Path) -> Path:
    for path in chain.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(chain)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("hint", [b"4\n", b"1", b"2", b"9", b"0", b"-3", b"", b"what", None])
def test_the_newest_generation_whatever_the_hint_says(copy: Path, hint: bytes | None) -> None:
    """A hint that is behind is followed up, one that is wrong or missing costs a listing."""
    (copy / "HEAD").unlink()
    if hint is not None:
        (copy / "HEAD").write_bytes(hint)
    assert GenerationReader(copy).newest() == 4
    assert load_bank(copy).generation == 4
    assert generations(copy) == [1, 2, 3, 4]


def test_a_right_hint_spares_the_listing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is there, the next is not: that is the newest, and nothing is listed."""
    reader = GenerationReader(copy)
    monkeypatch.setattr(reader._blobs, "names", lambda _="": pytest.fail("listed"))
    assert reader.newest() == 4


def test_a_store_without_a_bank(tmp_path: Path) -> None:
    """Nothing is the newest, and what is asked for is said not to be there."""
    reader = GenerationReader(tmp_path / "none")
    assert reader.newest() is None
    assert reader.generations() == []
    for generation in (None, 1):
        with pytest.raises(BankFileError, match="holds no memory bank"):
            reader.manifest(generation)
    assert list(reader.verify()) == []


def test_a_generation_that_is_not_there(copy: Path) -> None:
    """The message says which ones are."""
    with pytest.raises(BankFileError, match="has no generation 5; it has 1 to 4"):
        GenerationReader(copy).bank(5)


def test_events_up_to_a_generation_are_in_order(copy: Path) -> None:
    """The fit first, then who confirmed which frame."""
    reader = GenerationReader(copy)
    first, *confirmed = reader.events(4)
    assert isinstance(first, Fitted)
    assert [event.frame.name for event in confirmed if isinstance(event, ConfirmedGood)] == ["f0", "f1", "f2"]
    assert reader.events(2) == (first, confirmed[0])
    assert reader.events(1) == (first,)


def test_events_are_read_from_the_log_of_a_whole_generation(tmp_path: Path) -> None:
    """After the whole one, its log and the later manifests give them all; an altered log is noticed."""
    learner = Learner.open(new_store(tmp_path))
    for number in range(WHOLE_EVERY + 1):
        confirm(learner, confirmation(number, patches=confirmation(0).patches))
    reader = GenerationReader(tmp_path)
    assert len(reader.events(WHOLE_EVERY + 2)) == WHOLE_EVERY + 2
    assert [event.feedback_id for event in reader.events(WHOLE_EVERY + 2)][-2:] == ["feedback-31", "feedback-32"]
    log = reader.manifest(WHOLE_EVERY).log
    assert log is not None
    (tmp_path / log.name).write_bytes((tmp_path / log.name).read_bytes().replace(b"kim", b"lee"))
    with pytest.raises(BankFileError, match=f"{log.name}: altered"):
        reader.events(WHOLE_EVERY + 2)
    flaws = {number: flaw for number, flaw in reader.verify() if flaw}
    assert list(flaws) == [WHOLE_EVERY]


def test_a_flaw_is_said_of_its_generation(copy: Path) -> None:
    """Tensors that were cut spoil their generation and those that follow from it; a frame's file only its own."""
    reader = GenerationReader(copy)
    assert list(reader.verify()) == [(number, None) for number in range(1, 5)]
    event = reader.manifest(2).event
    assert isinstance(event, ConfirmedGood)
    frame = copy / frame_file(event.frame, FRAMES)
    content = frame.read_bytes()
    frame.write_bytes(content[:-1])
    assert [number for number, flaw in reader.verify() if flaw] == [2]
    with pytest.raises(BankFileError, match=r"safetensors: truncated: \d+ bytes, \d+ are stated"):
        reader.patches(event.frame)
    frame.write_bytes(content + b"x")
    with pytest.raises(BankFileError, match="safetensors: altered"):
        reader.patches(event.frame)
    frame.write_bytes(content)
    tensors = copy / reader.manifest(3).tensors
    tensors.write_bytes(tensors.read_bytes()[:-1])
    assert [number for number, flaw in GenerationReader(copy).verify() if flaw] == [3, 4]
    assert GenerationReader(copy).bank(2).generation == 2


def test_a_parent_that_was_replaced_is_noticed(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A manifest of another chain in the place of a parent is foreign, though it is whole by itself."""
    other = tmp_path_factory.mktemp("other")
    confirm(Learner.open(new_store(other)), confirmation(5))
    name = "generation-000002.json"
    (copy / name).write_bytes((other / name).read_bytes())
    with pytest.raises(BankFileError, match=f"{name}: altered or foreign: generation 3 was made from one with SHA-256"):
        GenerationReader(copy).bank(3)
    with pytest.raises(BankFileError, match="generation 3 was made from one"):
        GenerationReader(copy).events(4)


def test_the_bank_read_last_is_gone_on_from_once_its_sum_was_right(copy: Path) -> None:
    """One whose sum is wrong is forgotten, not taken for the one that the next generation follows from."""
    reader = GenerationReader(copy)
    reader.bank(2)
    (last,) = reader._last.values()
    assert last.generation == 2
    manifest = reader.manifest(3)
    wrong = msgspec.structs.replace(manifest, sha256="0" * 64)
    (copy / "generation-000003.json").write_bytes(encode_manifest(wrong)[1])
    with pytest.raises(BankFileError, match=r"its bank has SHA-256 .*, it states 000"):
        reader.bank(3)
    assert list(reader._last.values()) == [last]


def test_a_gap_in_the_chain_is_said_of_what_follows_it(copy: Path) -> None:
    """A change cannot be applied to an earlier bank than the one it was made from."""
    (copy / "generation-000002.json").unlink()
    flaws = dict(GenerationReader(copy).verify())
    assert list(flaws) == [1, 3, 4]
    assert flaws[1] is None
    for number in (3, 4):
        assert flaws[number] is not None
        assert "has no generation 2; it has 1 to 4" in str(flaws[number])


def test_what_follows_a_generation_that_is_flawed_is_read_by_itself(copy: Path) -> None:
    """A manifest that is altered is one flaw; the generation after it says that its parent is another."""
    path = copy / "generation-000003.json"
    path.write_bytes(path.read_bytes().replace(b"new supplier", b"old supplier"))
    flaws = dict(GenerationReader(copy).verify())
    assert [number for number, flaw in flaws.items() if flaw] == [3, 4]
    assert "altered: its content has SHA-256" in str(flaws[3])
    assert "generation-000003.json: altered" in str(flaws[4])


def test_files_that_are_none_are_refused_by_name(copy: Path) -> None:
    """A pipe in the place of a manifest, terabytes in that of tensors, a device in that of a frame: nothing is read."""
    reader = GenerationReader(copy)
    frame = reader.manifest(1).calibration[0]
    manifest, tensors = copy / "generation-000002.json", copy / reader.manifest(1).tensors
    stored = copy / frame_file(frame, FRAMES)
    for path in (manifest, stored):
        path.unlink()
    os.mkfifo(manifest)
    stored.symlink_to("/dev/zero")
    with tensors.open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(BankFileError, match=r"generation-000002.json: is a pipe, expected a regular file"):
        GenerationReader(copy).bank(2)
    with pytest.raises(BankFileError, match=rf"{tensors.name}: altered: 8,796,093,022,208 bytes, expected"):
        GenerationReader(copy).bank(1)
    with pytest.raises(BankFileError, match=r"safetensors: leads to /dev/zero, expected a file within"):
        reader.patches(frame)
    assert all(flaw for _, flaw in GenerationReader(copy).verify())


@pytest.mark.parametrize("hint", [b"9" * 60, b"9" * 10_000, b"\xff", "٣".encode(), b"1e3"])
def test_a_hint_that_is_none_is_passed_over(copy: Path, hint: bytes) -> None:
    """Whatever it says, however long it is."""
    (copy / "HEAD").write_bytes(hint)
    assert GenerationReader(copy).newest() in (3, 4)
    (copy / "HEAD").unlink()
    (copy / "HEAD").symlink_to("/dev/zero")
    assert GenerationReader(copy).newest() == 4


def test_names_that_are_no_manifest_s_are_no_generations(copy: Path) -> None:
    """Figures of other scripts, and numbers that no chain comes to."""
    for name in ("generation-٠٠٠٠٠٩.json", "generation-000000.json", f"generation-{'9' * 60}.json"):
        (copy / name).write_text("{}")
    assert GenerationReader(copy).generations() == [1, 2, 3, 4]
    for number in (0, -1, 10**10, 10**400):
        with pytest.raises(BankFileError, match=r"has no generation"):
            GenerationReader(copy).manifest(number)


def test_a_chain_of_changes_without_end_is_not_followed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole generation comes every 32nd time, and with it the log of events."""
    monkeypatch.setattr("patchline.engine.bank.reader.MOST_CHANGES", 2)
    assert GenerationReader(copy).bank(3).generation == 3
    with pytest.raises(BankFileError, match=r"generation-000004.json: foreign: follows from 2 changes and more"):
        GenerationReader(copy).bank(4)
    assert len(GenerationReader(copy).events(3)) == 3
    with pytest.raises(BankFileError, match=r"generation-000004.json: foreign: 2 generations and more without a log"):
        GenerationReader(copy).events(4)


def test_a_generation_made_from_another_recipe_is_refused(copy: Path) -> None:
    """Though every sum is right: a manifest states what the one before it states."""
    forge(copy, 2, lambda manifest: manifest["recipe"].update(neighbours=4))
    with pytest.raises(
        BankFileError, match=r"generation-000002.json: altered or foreign: recipe is .*, expected that of g"
    ):
        GenerationReader(copy).bank(2)
    assert GenerationReader(copy).bank(1).generation == 1
    with pytest.raises(BankFileError, match="recipe is"):
        GenerationReader(copy).events(2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "foreign: its format is not"),
        (b'{"format":' + b"[" * 100_000, "truncated or not JSON"),
        (b'{"format": "patchline memory bank", "version": 3, "x": ' + b"[" * 100_000, "truncated or not JSON"),
        (b'{"format": "patchline memory bank", "version": ' + b"9" * 4000 + b"}", "version 999"),
        (b'{"format": "patchline memory bank", "version": 3, "rows": 1e309}', "Number out of range|missing required"),
    ],
)
def test_json_that_nests_or_counts_without_end_is_refused(copy: Path, content: bytes, says: str) -> None:
    """By the file's name, and in a line."""
    (copy / "generation-000001.json").write_bytes(content)
    with pytest.raises(BankFileError, match=rf"generation-000001.json: .*({says})") as refusal:
        GenerationReader(copy).manifest(1)
    assert len(str(refusal.value)) < 1000


def test_patches_of_another_shape_are_refused(copy: Path) -> None:
    """A frame has as many patches as the bank's grid, of as many values as its rows; a size beyond that is not read."""
    store = GenerationStore(copy)
    with pytest.raises(BankFileError, match=r"foreign: patches \(15, 6\), expected \(16, 6\)"):
        store.patches(store.keep("short", patches(1)[:15]))
    with pytest.raises(BankFileError, match=r"foreign: patches \(16, 5\), expected \(16, 6\)"):
        store.patches(store.keep("narrow", patches(1)[:, :5]))
    large = store.keep("large", np.zeros((20_000, 6), np.int16))
    with pytest.raises(BankFileError, match=r"foreign: 240,\d\d\d bytes are stated, expected 65,728 at most"):
        store.patches(large)


def _updated(changed: Json, manifest: Json) -> None:
    manifest.update(changed)


def test_a_log_is_of_the_generation_that_names_it(tmp_path: Path) -> None:
    """As many events as generations, the last that of its own; anything else is refused, sums or not."""
    learner = Learner.open(new_store(tmp_path))
    confirm(learner, confirmation(0))
    unlearn(learner, "f0")
    reader = GenerationReader(tmp_path)
    manifest = reader.manifest(3)
    assert manifest.log is not None
    events = reader.events(3)
    for content, says in (
        (msgspec.json.encode(events[:2]), "2 events, expected 3, the last of them that of generation 3"),
        (msgspec.json.encode((*events[:2], events[1])), "3 events, expected 3, the last of them that"),
        (b"[]", "0 events, expected 3"),
        (b"[" * 100_000, "altered or foreign: Expected"),
        (b'[{"event": "fitted", "passed": ' + b"[" * 100_000, "altered or foreign: "),
        (b'[{"event": "what"}]', "altered or foreign: "),
    ):
        stated = StoredFrame(name=manifest.log.name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        (tmp_path / manifest.log.name).write_bytes(content)
        log = {"log": msgspec.to_builtins(stated)}
        forge(tmp_path, 3, partial(_updated, log))
        with pytest.raises(BankFileError, match=rf"{manifest.log.name}: .*{says}"):
            GenerationReader(tmp_path).events(3)
