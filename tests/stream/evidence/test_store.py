"""The evidence store gives frames back by their id, whole or not at all, and keeps to its bounds."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import time
from typing import Any, TypeAlias

import numpy as np
import pytest

from patchline.engine.types import Verdict
from patchline.stream.evidence.store import EvidenceStore, _written, encode_png
from patchline.stream.model.errors import EvidenceError
from tests.stream.evidence_help import decoded, evidence, store_at
from tests.stream.scripted import picture

Json: TypeAlias = dict[str, Any]


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_frame_comes_back_by_its_id(where: str, tmp_path: Path, unique_name: Callable[[str], str]) -> None:
    """Image, result and map come back, on disk and on another file system; what was never kept is not there."""
    store = store_at(str(tmp_path) if where == "folder" else f"memory://{unique_name('evidence')}")
    anomaly_map = np.linspace(0, 5, 32 * 48, dtype=np.float32).reshape(32, 48)
    store.put(evidence("line/1", b"bytes"), b"bytes", anomaly_map)
    found = store.find("line/1", ["other", "plate"])
    assert found is not None
    assert (found.result.score, found.nearest_row, found.map_max) == (120.0, 3, 5.0)
    assert store.image(found) == b"bytes"
    grey = decoded(store.map_png(found))
    assert np.abs(grey / 255 * 5 - anomaly_map).max() <= 5 / 255
    assert store.find("line/2", ["plate"]) is None
    assert [e.result.frame_id for e in store.recent_rejects("plate", 5)] == ["line/1"]


def test_altered_or_half_written_frames_are_not_there(tmp_path: Path) -> None:
    """An image that is not the one kept is not given out, and a record cut short is none."""
    store = store_at(str(tmp_path))
    store.put(evidence("a", b"bytes"), b"bytes")
    found = store.find("a", ["plate"])
    assert found is not None
    next(tmp_path.rglob("*.image")).write_bytes(b"other")
    assert store.image(found) is None
    record = next(tmp_path.rglob("*.json"))
    record.write_bytes(record.read_bytes()[:-10])
    assert store.find("a", ["plate"]) is None


def test_old_and_surplus_frames_are_removed_oldest_first(tmp_path: Path) -> None:
    """Age and bytes bound the store; files that are not its own stay."""
    store = store_at(str(tmp_path), keep_s=1000, keep_bytes=5000)
    for age, name in ((5000, "old"), (30, "first"), (20, "second"), (10, "third")):
        store.put(evidence(name, bytes(1500)), bytes(1500))
        digest = hashlib.sha256(name.encode()).hexdigest()
        for path in tmp_path.rglob(f"{digest}.*"):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    (tmp_path / "plate" / "mine.json").write_text("{}")
    assert store.expire() == 2
    left = [name for name in ("old", "first", "second", "third") if store.find(name, ["plate"]) is not None]
    assert left == ["second", "third"]
    assert (tmp_path / "plate" / "mine.json").exists()


def told_by(store: EvidenceStore) -> list[str]:
    """What the store passes over from here on: the end of the file's name, and why."""
    told: list[str] = []
    store.damaged = lambda where, why: told.append(f"{where.rpartition('.')[2]} {why}")
    return told


def record_of(folder: Path, old: bool = True) -> Path:
    """The JSON of the frame in a folder; it was written a minute ago."""
    record = next(folder.rglob("*.json"))
    if old:
        os.utime(record, (record.stat().st_mtime - 60,) * 2)
    return record


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"result": {"frame_id": "b"}}, "is of frame 'b' of recipe 'plate', expected the one that it is named by"),
        ({"result": {"recipe": "../other"}}, "is of frame 'a' of recipe '../other'"),
        ({"result": {"generation": None}}, "is of a frame that was not judged"),
        ({"result": {"score": None}}, "is of a frame that was not judged"),
        ({"grid": [0, 6]}, "has its worst patch outside its grid"),
        ({"grid": [2**40, 6]}, "has its worst patch outside its grid"),
        ({"worst_patch": [4, 0]}, "has its worst patch outside its grid"),
        ({"worst_patch": [0, -1]}, "has its worst patch outside its grid"),
        ({"nearest_row": -1}, "names no row"),
        ({"nearest_row": 10**30}, "names no row"),
        ({"map_max": -1.0}, "has a map up to -1.0"),
        ({"more": 1}, "is no evidence, or not all of it"),
    ],
)
def test_what_no_keeper_writes_is_passed_over_and_told_once(tmp_path: Path, changed: Json, says: str) -> None:
    """Others may write to the store: what says which file is to be read, or indexes a bank, is checked first."""
    store = store_at(str(tmp_path))
    told = told_by(store)
    store.put(evidence("a", b"bytes"), b"bytes")
    record = record_of(tmp_path)
    content = json.loads(record.read_text())
    content["result"] |= changed.get("result", {})
    record.write_text(json.dumps(content | {key: value for key, value in changed.items() if key != "result"}))
    record_of(tmp_path)
    for _ in range(2):
        assert store.find("a", ["plate"]) is None
        assert store.recent_rejects("plate", 5) == []
    (line,) = told
    assert line.startswith(f"json {says}")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"null"])
def test_a_damaged_record_is_told_unless_it_is_being_written(tmp_path: Path, content: bytes) -> None:
    """A reader may come while a worker writes: what is no record yet may be one soon."""
    store = store_at(str(tmp_path))
    told = told_by(store)
    store.put(evidence("a", b"bytes"), b"bytes")
    store.put(evidence("b", b"bytes"), b"bytes")
    first = sorted(tmp_path.rglob("*.json"))[0]
    first.write_bytes(content)
    assert len(store.recent_rejects("plate", 5)) == 1
    assert told == []
    os.utime(first, (first.stat().st_mtime - 60,) * 2)
    assert len(store.recent_rejects("plate", 5)) == 1
    assert [line[:33] for line in told] == ["json is no evidence, or not all o"]


def test_pipes_and_files_of_terabytes_are_not_read(tmp_path: Path) -> None:
    """A record, an image or a map that is one of these is passed over, and told."""
    store = store_at(str(tmp_path))
    told = told_by(store)
    store.put(evidence("a", b"bytes"), b"bytes", MAP)
    found = store.find("a", ["plate"])
    assert found is not None
    image, picture_of_map, record = (next(tmp_path.rglob(f"*.{name}")) for name in ("image", "map.png", "json"))
    for path in (image, record):
        with path.open("wb") as file:
            file.truncate(2**43)
    picture_of_map.unlink()
    os.mkfifo(picture_of_map)
    assert (store.image(found), store.map_png(found), store.find("a", ["plate"])) == (None, None, None)
    assert [line.partition(" is no file of ")[0] for line in told] == ["image", "png", "json"]


def test_one_file_that_is_more_than_all_may_be_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    """It goes first, however new it is."""
    store = store_at(str(tmp_path), keep_s=1000, keep_bytes=5000)
    for name in ("a", "b"):
        store.put(evidence(name, bytes(1500)), bytes(1500))
    with (tmp_path / "plate" / "reject" / f"{'0' * 64}.image").open("wb") as file:
        file.truncate(2**43)
    assert store.expire() == 1
    assert all(store.find(name, ["plate"]) for name in ("a", "b"))


def test_what_was_told_is_remembered_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many damaged files the last are remembered; others would be told again."""
    monkeypatch.setattr("patchline.stream.evidence.store.MOST_TOLD", 2)
    store = store_at(str(tmp_path))
    told = told_by(store)
    for name in ("a", "b", "c", "c", "b", "a"):
        store._pass_over(f"x.{name}", "why")
    assert told == ["a why", "b why", "c why", "a why"]


MAP = np.full((4, 4), 2.0, np.float32)


def files(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, by the ends of the names."""
    return {path.name.partition(".")[2]: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_crash_amid_writing_never_leaves_a_record_without_its_image(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of its three writes the frame is not there; only with the last one, all of it is."""
    store = store_at(str(tmp_path))
    write, left = store._fs.pipe_file, [writes]

    def crashing(path: str, value: bytes) -> None:
        if not left[0]:
            raise OSError("the worker was killed")
        left[0] -= 1
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(store._fs, "pipe_file", crashing)
        with pytest.raises(EvidenceError, match="the worker was killed"):
            store.put(evidence("a", b"bytes"), b"bytes", MAP)
    assert len(files(tmp_path)) == writes
    assert "json" not in files(tmp_path)
    assert store.find("a", ["plate"]) is None
    assert store.recent_rejects("plate", 5) == []
    store.put(evidence("a", b"bytes"), b"bytes", MAP)
    assert set(files(tmp_path)) == {"json", "image", "map.png"}


@pytest.mark.parametrize("removals", [1, 2])
def test_a_crash_amid_removing_leaves_no_record_either(
    removals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that the frame is there goes first, so a frame that is half removed is not there."""
    store = store_at(str(tmp_path), keep_s=-1)
    store.put(evidence("a", b"bytes"), b"bytes", MAP)
    remove, left = store._fs.rm_file, [removals]

    def crashing(path: str) -> None:
        if not left[0]:
            raise OSError("the worker was killed")
        left[0] -= 1
        remove(path)

    monkeypatch.setattr(store._fs, "rm_file", crashing)
    with pytest.raises(EvidenceError):
        store.expire()
    assert len(files(tmp_path)) == 3 - removals
    assert "json" not in files(tmp_path)


def test_rejects_and_passes_lie_apart_and_both_are_found(tmp_path: Path) -> None:
    """A frame is filed by its verdict; only rejects are recent rejects, newest last, and no more than asked for."""
    store = store_at(str(tmp_path))
    for number, verdict in enumerate((Verdict.REJECT, Verdict.PASS, Verdict.REJECT, Verdict.REJECT)):
        store.put(evidence(f"f{number}", b"x", verdict), b"x")
        for path in tmp_path.rglob(f"{hashlib.sha256(f'f{number}'.encode()).hexdigest()}.*"):
            os.utime(path, (number, number))
    kept = store.find("f1", ["plate"])
    assert kept is not None
    assert store.image(kept) == b"x"
    assert (kept.map_max, store.map_png(kept)) == (None, None)
    assert len(list((tmp_path / "plate" / "pass").iterdir())) == 2
    assert [each.result.frame_id for each in store.recent_rejects("plate", 2)] == ["f2", "f3"]
    assert [each.result.frame_id for each in store.recent_rejects("plate", 9)] == ["f0", "f2", "f3"]
    assert store.recent_rejects("other", 9) == []


def test_the_bounds_of_the_store_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame exactly as old, and a store exactly as large, as may be stays; beyond that the oldest goes."""
    monkeypatch.setattr("patchline.stream.evidence.store.time", lambda: 2000.0)
    store = store_at(str(tmp_path), keep_s=1000)
    for name, at in (("old", 999.0), ("kept", 1000.0)):
        store.put(evidence(name, b"x"), b"x")
        for path in tmp_path.rglob(f"{hashlib.sha256(name.encode()).hexdigest()}.*"):
            os.utime(path, (at, at))
    assert store.expire() == 1
    assert store.find("old", ["plate"]) is None
    assert store.find("kept", ["plate"]) is not None
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert store_at(str(tmp_path), keep_s=10**6, keep_bytes=size).expire() == 0
    assert store_at(str(tmp_path), keep_s=10**6, keep_bytes=size - 1).expire() == 1
    assert files(tmp_path) == {}


def test_a_frame_is_as_young_as_its_youngest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is being written is not removed for a part that was there before."""
    monkeypatch.setattr("patchline.stream.evidence.store.time", lambda: 2000.0)
    store = store_at(str(tmp_path), keep_s=1000)
    store.put(evidence("f", b"x"), b"x", MAP)
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (1500.0, 1500.0) if path.suffix == ".image" else (10.0, 10.0))
    assert store.expire() == 0


def test_a_map_keeps_its_scale(tmp_path: Path) -> None:
    """White stands for the highest score; a map of zeros is black and has scale 0."""
    store = store_at(str(tmp_path))
    for name, values in (("some", [0.0, 5.0, 10.0, 2.5]), ("none", [0.0] * 4)):
        store.put(evidence(name, b"x"), b"x", np.array([values], np.float32))
    some, none = store.find("some", ["plate"]), store.find("none", ["plate"])
    assert some is not None
    assert none is not None
    assert (some.map_max, none.map_max) == (10.0, 0.0)
    for found, expected in ((some, [0, 127, 255, 63]), (none, [0] * 4)):
        assert decoded(store.map_png(found)).tolist() == [expected]


def test_pixels_are_written_without_loss() -> None:
    """RGB comes back as RGB."""
    image = picture(120)
    assert np.array_equal(decoded(encode_png(image)), image)


def test_a_url_that_cannot_be_understood_is_refused() -> None:
    """The error names the URL and what was expected."""
    with pytest.raises(EvidenceError, match=r"evidence store nowhere://x: .*expected a folder or an fsspec URL"):
        EvidenceStore("nowhere://x", keep_s=1, keep_bytes=1)


def test_storage_that_is_away_is_an_error_that_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, listing and removing say that the store cannot be reached; what is gone already is no error."""
    store = store_at(str(tmp_path), keep_s=-1)
    store.put(evidence("a", b"x"), b"x")

    def away(*_: object, **__: object) -> None:
        raise OSError("no route")

    for method, call in (
        ("cat_file", lambda: store.find("a", ["plate"])),
        ("find", lambda: store.recent_rejects("plate", 1)),
        ("rm_file", store.expire),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(store._fs, method, away)
            with pytest.raises(EvidenceError, match="no route") as raised:
                call()
            assert raised.value.retriable

    def gone(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(store._fs, "rm_file", gone)
    assert store.expire() == 1


def test_the_map_is_grey_from_nothing_to_its_highest_value(tmp_path: Path) -> None:
    """Nothing is black, the highest is white whatever it is, and a map without any anomaly is all black."""
    store = store_at(str(tmp_path))
    for values, grey, highest in (
        ([0.0, 0.25, 0.5], [0, 127, 255], 0.5),
        ([-1.0, 1.0, 4.0], [0, 63, 255], 4.0),
        ([0.0, 0.0, 0.0], [0, 0, 0], 0.0),
    ):
        store.put(evidence("a", b"x"), b"x", np.array([values], np.float32))
        found = store.find("a", ["plate"])
        assert found is not None
        assert found.map_max == highest
        assert decoded(store.map_png(found)).tolist() == [grey]


def test_colours_come_back_from_png() -> None:
    """RGB, not the BGR of the library."""
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0] = 200
    image[..., 2] = 7
    assert np.array_equal(decoded(encode_png(image)), image)
    assert np.array_equal(decoded(encode_png(image[..., 0])), image[..., 0])


def test_what_says_that_a_frame_is_there_is_written_last_and_removed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whatever dies in between, no frame is there that is not whole."""
    store = store_at(str(tmp_path), keep_s=-1.0)
    told: list[str] = []
    write, remove = store._write, store._remove

    def writing(path: str, value: bytes) -> None:
        told.append(path)
        write(path, value)

    def removing(path: str) -> None:
        told.append(path)
        remove(path)

    monkeypatch.setattr(store, "_write", writing)
    monkeypatch.setattr(store, "_remove", removing)
    store.put(evidence("a", b"x"), b"x", np.ones((2, 2), np.float32))
    assert [path.partition(".")[2] for path in told] == ["map.png", "image", "json"]
    told.clear()
    assert store.expire() == 1
    assert told[0].endswith(".json")
    assert len(told) == 3
    assert not list(tmp_path.rglob("*.*"))


def test_the_bounds_hold_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bounds of age and bytes nothing goes; one second or one byte beyond, the oldest does."""
    now_s = 1_000_000.0
    monkeypatch.setattr("patchline.stream.evidence.store.time", lambda: now_s)

    def filled(name: str, keep_s: float, keep_bytes: int) -> EvidenceStore:
        store = store_at(str(tmp_path / name), keep_s=keep_s, keep_bytes=keep_bytes)
        for age_s, frame in ((100, "old"), (50, "new")):
            store.put(evidence(frame, b"x"), b"x")
            for path in (tmp_path / name).rglob(f"{hashlib.sha256(frame.encode()).hexdigest()}.*"):
                os.utime(path, (now_s - age_s,) * 2)
        return store

    store = filled("a", 100, 10**6)
    size = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*.*"))
    assert store.expire() == 0
    assert filled("b", 99, 10**6).expire() == 1
    assert filled("c", 49, 10**6).expire() == 2
    exactly = filled("d", 100, size)
    size = sum(path.stat().st_size for path in (tmp_path / "d").rglob("*.*"))
    exactly._keep_bytes = size
    assert exactly.expire() == 0
    exactly._keep_bytes = size - 1
    assert exactly.expire() == 1
    assert (exactly.find("old", ["plate"]), exactly.find("new", ["plate"]) is None) == (None, False)


def test_passes_and_rejects_are_kept_apart_and_the_newest_rejects_come_oldest_first(tmp_path: Path) -> None:
    """A pass is found, and is no reject; listings are looked up anew each time."""
    store = store_at(str(tmp_path))
    for age_s, frame, verdict in ((30, "a", Verdict.REJECT), (20, "b", Verdict.REJECT), (10, "c", Verdict.REJECT)):
        store.put(evidence(frame, b"x", verdict), b"x")
        for path in tmp_path.rglob(f"{hashlib.sha256(frame.encode()).hexdigest()}.*"):
            os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    store.put(evidence("p", b"y", Verdict.PASS), b"y")
    asked: list[str] = []
    store._fs.invalidate_cache = asked.append
    assert [one.result.frame_id for one in store.recent_rejects("plate", 2)] == ["b", "c"]
    assert asked == [f"{tmp_path}/plate/reject"]
    passed = store.find("p", ["plate"])
    assert passed is not None
    assert store.image(passed) == b"y"
    assert (tmp_path / "plate" / "pass").is_dir()
    assert store.map_png(passed) is None


def test_when_an_object_was_written_is_told_by_any_file_system() -> None:
    """A number of seconds, a time with a zone, or one without, which is in UTC."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert _written({"mtime": 12, "created": 99}) == 12.0
    assert _written({"LastModified": at}) == at.timestamp()
    assert _written({"updated": at.replace(tzinfo=None)}) == at.timestamp()
    assert _written({"created": at.astimezone(timezone(timedelta(hours=5)))}) == at.timestamp()
    assert abs(_written({"mtime": "today"}) - time()) < 60


def test_a_file_that_is_dated_ahead_is_as_young_as_one_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock was wrong once: such a file would be the newest, and kept, for years."""
    ahead = time() + 10**9
    store = store_at(str(tmp_path), keep_s=1000)
    for name in ("ahead", "now"):
        store.put(evidence(name, b"x"), b"x")
    for path in tmp_path.rglob(f"{hashlib.sha256(b'ahead').hexdigest()}.*"):
        os.utime(path, (ahead, ahead))
    assert _written({"mtime": ahead}) <= time()
    assert store.expire() == 0
    monkeypatch.setattr("patchline.stream.evidence.store._dated", lambda info: min(info["mtime"], time() - 2000))
    assert store.expire() == 2
