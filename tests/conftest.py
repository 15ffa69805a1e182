"""Fixtures for all tests: real services, real data, names of their own."""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY, ServiceUnavailableError
from tests.services.prometheus import PrometheusServer
from tests.services.redis import RedisServer
from tests.services.rtsp import RtspServer


def _before_libraries_are_loaded() -> None:
    """Set what PyTorch, NumPy, FAISS and Triton read when they are loaded, in every process that a test starts too."""
    # Threads spin while they wait for each other. Where several processes share the cores, the thread that is waited
    # for does not run meanwhile: a search took eight times as much of the processor.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # they spin for 2^4 cycles, not for some 25 ms
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")


_before_libraries_are_loaded()

# No deadline: how long an example takes says what else the machine does, and no test is about that.
settings.register_profile("patchline", deadline=None)
settings.load_profile("patchline")

SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
SLOW_SERVICES = {"kafka", "rtsp_server", "prometheus"}
"""Fixtures that start a server which takes seconds."""
LONGEST = (
    "tests/chaos/",
    "tests/e2e/",
    "tests/ops/",
    "tests/engine/bank/test_hostile_stores.py",
    "tests/engine/search/test_kernel_compilation.py",
)
"""Where slow tests take minutes together: whole services, and files of few tests that take long each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `slow_tests.txt` lists and what needs a slow service, and put files with such tests first.

    So no process is left with the longest file at the end, while the others have nothing to do.
    """
    lines = SLOW_TESTS.read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    for item in items:
        # "tests/a/test_b.py::test_c[d]" is in the folder tests/a, the file and the test without its parameters.
        parts = item.nodeid.replace("[", "/", 1).replace("::", "/").split("/")
        within = {"/".join(parts[: length + 1]) for length in range(len(parts))}
        if any(line.replace("::", "/") in within for line in listed) or SLOW_SERVICES & set(_fixtures(item)):
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (not (slow[item.path] and item.nodeid.startswith(LONGEST)), -slow[item.path]))


def _fixtures(item: pytest.Item) -> Sequence[str]:
    """Names of the fixtures that a test asks for, directly or through others."""
    return getattr(item, "fixturenames", ())


def _unavailable(error: ServiceUnavailableError) -> NoReturn:
    """A service that cannot be had is a skip that says why; where all are required (CI) it is a failure."""
    if os.environ.get("PATCHLINE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"PATCHLINE_REQUIRE_SERVICES=1, and {error}", pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def unavailable() -> Callable[[ServiceUnavailableError], NoReturn]:
    """What to do about a service that cannot be had."""
    return _unavailable


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of test data: $PATCHLINE_DATA, else ../shared/data beside the repository."""
    given = os.environ.get("PATCHLINE_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not (folder / "magnetic_tile").is_dir():
        _unavailable(ServiceUnavailableError(f"no test data: {folder}/magnetic_tile is missing; set PATCHLINE_DATA"))
    return folder.resolve()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """HOST:PORT of a Kafka broker: $KAFKA_BOOTSTRAP, else one of our own. Shared: use `unique_name` for topics."""
    if given := os.environ.get("KAFKA_BOOTSTRAP"):
        yield given
        return
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(KafkaBroker())
            broker.start_broker()
        except ServiceUnavailableError as error:
            _unavailable(error)
        yield broker.bootstrap


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """redis:// address of a server: $REDIS_URL, else one of our own. Shared: prefix keys by `unique_name`."""
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    with ExitStack() as stack:
        try:
            server = stack.enter_context(RedisServer())
            server.start_redis()
        except ServiceUnavailableError as error:
            _unavailable(error)
        yield server.url


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Names nobody else uses: `unique_name("frames")` -> "frames-1f0c9a2b". One suffix a test."""
    suffix = uuid.uuid4().hex[:8]
    return lambda name: f"{name}-{suffix}"


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., str]]:
    """Serves a video file or a folder of images: `rtsp_server(path, codec="mjpeg", ...)` -> rtsp:// address."""
    with ExitStack() as stack:

        def serve(media: Path, **options: object) -> str:
            try:
                return stack.enter_context(RtspServer()).serve(media, **options)  # type: ignore[arg-type] # passed on
            except ServiceUnavailableError as error:
                _unavailable(error)

        yield serve


@pytest.fixture
def prometheus() -> Iterator[Callable[..., PrometheusServer]]:
    """Starts a Prometheus: `prometheus("127.0.0.1:9100")` scrapes that address; ask it with `.query(expression)`."""
    with ExitStack() as stack:

        def scrape(target: str, **options: object) -> PrometheusServer:
            try:
                server = stack.enter_context(PrometheusServer())
                server.scrape(target, **options)  # type: ignore[arg-type] # passed on
            except ServiceUnavailableError as error:
                _unavailable(error)
            return server

        yield scrape
