"""Files appear whole or not at all, and of two writers who create one name only one succeeds: disk, memory and S3."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patchline.engine.bank.blobs import Blobs, open_blobs
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
