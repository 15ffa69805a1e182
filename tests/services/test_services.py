"""The services that other tests stand on."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.services.prometheus import PrometheusServer
from tests.services.rtsp import RtspServer

FRAME_BYTES = 32 * 2**20


async def test_broker_takes_32_mib(kafka: str, unique_name: Callable[[str], str]) -> None:
    """The broker carries a message of 32 MiB and gives back the same bytes."""
    topic, value = unique_name("large"), bytes(FRAME_BYTES)
    async with AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=FRAME_BYTES + 2**20) as producer:
        await producer.send_and_wait(topic, value)
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=FRAME_BYTES + 2**20
    )
    async with reader:
        assert (await reader.getone()).value == value


async def test_broker_hides_an_aborted_transaction(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Only what was committed reaches a reader of committed records."""
    topic = unique_name("transaction")
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=unique_name("id")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send(topic, b"committed")
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with reader:
        assert (await reader.getone()).value == b"committed"


def test_redis_answers(redis_url: str) -> None:
    """The Redis server takes a stream, a hash and a script."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
        assert client.eval("return 2", 0) == 2


def test_rtsp_serves_a_video_file(rtsp_server: Callable[..., str], data_dir: Path) -> None:
    """A video file comes through RTSP with its own size."""
    with av.open(rtsp_server(data_dir / "video" / "bottle-detection.mp4"), options={"rtsp_transport": "tcp"}) as stream:
        frames = list(itertools.islice(stream.decode(video=0), 5))
    assert [(f.height, f.width) for f in frames] == [(360, 640)] * 5


@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
def test_rtsp_serves_a_folder(rtsp_server: Callable[..., str], data_dir: Path, codec: str) -> None:
    """Images of different sizes become one stream of one size, every frame there, ending after the last."""
    folder = data_dir / "magnetic_tile" / "test" / "crack"
    count = len(list(folder.iterdir()))
    address = rtsp_server(folder, codec=codec, frames_per_s=30, size_px=(240, 320))
    with av.open(address, options={"rtsp_transport": "tcp"}) as stream:
        sizes = [(f.height, f.width) for f in stream.decode(video=0)]
    assert sizes == [(240, 320)] * count


def test_rtsp_asks_for_credentials(data_dir: Path) -> None:
    """With credentials set, an address without them is refused and one with them is served."""
    with RtspServer() as server:
        address = server.serve(data_dir / "video" / "bottle-detection.mp4", credentials=("viewer", "s3cret"))
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(address.replace("viewer:s3cret@", ""), options={"rtsp_transport": "tcp"})
        with av.open(address, options={"rtsp_transport": "tcp"}) as stream:
            assert next(stream.decode(video=0)).width == 640


def test_prometheus_scrapes(prometheus: Callable[..., PrometheusServer]) -> None:
    """Prometheus answers queries, and knows that a target nobody listens on is down."""
    server = prometheus("127.0.0.1:1")
    while not (found := server.query("up")):
        time.sleep(0.1)
    assert found[0]["value"][1] == "0"
