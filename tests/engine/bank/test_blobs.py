"""Files appear whole or not at all, and of two writers who create one name only one succeeds: disk, memory and S3."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError
from fsspec.core import url_to_fs

from patchline.engine.bank import blobs as blobs_module
from patchline.engine.bank.atomic_files import SUFFIX
from patchline.engine.bank.blobs import Blobs, S3Blobs, open_blobs
from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from tests.engine.learning_worlds import confirm, confirmation, new_store, unlearn
from tests.services.s3 import s3_bucket


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on this machine with an empty bucket; the environment names it and its keys."""
    with s3_bucket("banks") as url:
        yield url


@pytest.fixture(params=["disk", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "disk":
            return str(tmp_path / "bank")
        case "memory":
            return f"memory://{tmp_path.name}"
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_of_many_writers_one_creates_a_name(url: str) -> None:
    """The others are told that it exists, and its content stays the first one's."""

    def create(number: int) -> bool:
        try:
            open_blobs(url).create("generation-000001.json", b"%d" % number)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(16)))
    assert created.count(True) == 1
    blobs = open_blobs(url)
    assert blobs.read("generation-000001.json") == b"%d" % created.index(True)
    assert blobs.names() == ["generation-000001.json"]


def test_files_are_read_replaced_listed_and_removed(url: str) -> None:
    """Folders list the files directly in them; what is missing is a FileNotFoundError."""
    blobs: Blobs = open_blobs(url)
    assert blobs.names() == blobs.names("frames") == []
    with pytest.raises(FileNotFoundError):
        blobs.read("HEAD")
    blobs.write("HEAD", b"1")
    blobs.write("HEAD", b"2")
    blobs.write("frames/a", b"x" * 100_000)
    assert (blobs.read("HEAD"), len(blobs.read("frames/a"))) == (b"2", 100_000)
    assert (blobs.names(), blobs.names("frames")) == (["HEAD"], ["a"])
    assert (blobs.exists("HEAD"), blobs.exists("frames/a"), blobs.exists("frames/b")) == (True, True, False)
    assert (blobs.read("HEAD", 1), blobs.read("frames/a", 100_000)) == (b"2", b"x" * 100_000)
    with pytest.raises(BankFileError, match="frames/a: altered: 100,000 bytes, expected 99,999 at most"):
        blobs.read("frames/a", 99_999)
    with pytest.raises((FileNotFoundError, BankFileError)):
        blobs.read("frames")
    blobs.write("empty", b"")
    assert blobs.read("empty") == b""
    blobs.remove("empty")
    blobs.remove("frames/a")
    blobs.remove("frames/a")
    assert blobs.names("frames") == []


def test_a_bank_learns_on_every_kind_of_store(url: str) -> None:
    """Learned, raced for, and unlearned, as on a disk."""
    store = new_store(url)
    one, two = Learner.open(store), Learner.open(store)
    first = one.bank
    confirm(one, confirmation(1))
    for _ in two.confirm_good(confirmation(2)):
        pass
    with pytest.raises(BankFileError, match="another writer was first"):
        two.commit()
    two = two.reopen()
    confirm(two, confirmation(2))
    unlearn(two, "f1")
    assert unlearn(two, "f2", "back-2").sha256 == first.sha256 == store.bank().sha256
    assert [flaw for _, flaw in store.verify()] == [None] * 5


@pytest.mark.parametrize(
    ("url", "says"), [("ftp://x/y", "cannot create a file exclusively"), ("s3://", "names no folder")]
)
def test_other_stores_are_refused(url: str, says: str) -> None:
    """A store without exclusive creation could change a generation: the message names the URL and what is expected."""
    with pytest.raises(BankFileError, match=f"{url}: .*{says}.*expected"):
        open_blobs(url)


def test_what_is_written_is_on_the_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the folder that names it are synchronised, but for a hint, which may be lost."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append("folder" if os.path.isdir(fd) else "file"))  # noqa: PTH112
    blobs = open_blobs(tmp_path)
    blobs.write("frames/a", b"1")
    assert synced == ["file", "folder"]
    blobs.create("b", b"2")
    assert synced == ["file", "folder"] * 2
    blobs.hint("HEAD", b"3")
    assert synced == ["file", "folder"] * 2
    assert blobs.read("HEAD") == b"3"


def test_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    """A service and its tools run as different users; hidden files and folders are not listed, names are sorted."""
    blobs = open_blobs(f"file://{tmp_path}")
    for name in ("b", "a", "sub/c"):
        blobs.write(name, b"x")
    (tmp_path / ".hidden").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert blobs.names() == ["a", "b"]
    assert blobs.where == str(tmp_path)


def test_a_folder_is_swept_once(tmp_path: Path) -> None:
    """The first write to a folder removes what dead writers left there; later writes do not look again."""
    blobs = open_blobs(tmp_path)
    blobs.write("a", b"1")
    left = tmp_path / f".x{SUFFIX}"
    left.write_bytes(b"")
    os.utime(left, (1.0, 1.0))
    blobs.write("b", b"2")
    assert left.exists()
    blobs.write("sub/c", b"3")
    assert left.exists()
    open_blobs(tmp_path).write("d", b"4")
    assert not left.exists()


class FailingS3:
    """Stands in for s3fs; every request fails as it is told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fail(self, *_: object, **__: object) -> None:
        raise self.error

    call_s3 = cat_file = info = pipe_file = ls = rm_file = fail

    def invalidate_cache(self) -> None:
        pass


def failing(error: Exception) -> S3Blobs:
    return S3Blobs(FailingS3(error), "bucket/folder", "s3://bucket/folder/")


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict", "412 Precondition"])
def test_s3_says_in_three_ways_that_a_name_is_taken(code: str) -> None:
    """Whether the code is in the error itself or in what caused it; any other error is passed on."""
    caused = OSError("refused")
    caused.__cause__ = ValueError(f"An error occurred ({code})")
    for error in (OSError(f"An error occurred ({code})"), caused):
        with pytest.raises(FileExistsError, match=r"^HEAD$"):
            failing(error).create("HEAD", b"1")
    other = OSError("An error occurred (AccessDenied)")
    with pytest.raises(OSError, match="AccessDenied") as refusal:
        failing(other).create("HEAD", b"1")
    assert refusal.value is other


def test_botocore_s_own_errors_are_os_errors() -> None:
    """No credentials, no endpoint: each request says which object, as a store that cannot be reached does."""
    blobs = failing(NoCredentialsError())
    requests: list[Callable[[], object]] = [
        lambda: blobs.read("a"),
        lambda: blobs.exists("a"),
        lambda: blobs.write("a", b""),
        lambda: blobs.hint("a", b""),
        lambda: blobs.create("a", b""),
        lambda: blobs.remove("a"),
    ]
    for request in requests:
        with pytest.raises(OSError, match="s3://bucket/folder/a: Unable to locate credentials"):
            request()
    with pytest.raises(OSError, match="s3://bucket/folder/frames: Unable"):
        blobs.names("frames")
    assert blobs.where == "s3://bucket/folder"


def test_what_is_missing_is_not_removed_and_lists_as_nothing() -> None:
    """A folder or file that is not there is no error to those who list or remove it."""
    blobs = failing(FileNotFoundError("gone"))
    blobs.remove("a")
    assert blobs.names() == []
    with pytest.raises(FileNotFoundError):
        blobs.read("a")


@pytest.mark.parametrize(("url", "cached"), [("s3://bucket/folder", False), ("memory://folder", True)])
def test_listings_of_s3_are_never_remembered(url: str, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes create generations there; memory has no such option."""
    options: list[dict[str, object]] = []

    def opened(text: str, **given: object) -> tuple[object, str]:
        options.append(given)
        return url_to_fs("memory://folder")[0], text.partition("://")[2]

    monkeypatch.setattr(blobs_module, "url_to_fs", opened)
    open_blobs(url)
    assert options == ([{}] if cached else [{"use_listings_cache": False}])
