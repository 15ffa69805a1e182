"""Results by a plain producer that does as the test says. Brokers: `test_exactly_once.py`."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, ProducerFenced, TopicAuthorizationFailedError

from patchline.stream.kafka import at_least_once as module
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from tests.stream.alarms.test_store import outcomes
from tests.stream.kafka.scripted_clients import ScriptedProducer
from tests.stream.kafka.test_records import unreadable

CONFIG = KafkaConfig(bootstrap_servers="broker:9092")


class Made:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, max_frame_bytes: int = 10) -> None:
        self.producers: list[ScriptedProducer] = []
        self.next_fails: dict[str, list[BaseException]] = {}

        def new_producer(config: KafkaConfig, max_frame_bytes: int) -> ScriptedProducer:
            producer = ScriptedProducer(max_frame_bytes=max_frame_bytes)
            producer.fails, self.next_fails = self.next_fails, {}
            self.producers.append(producer)
            return producer

        monkeypatch.setattr(module, "new_producer", new_producer)
        self.sink = AtLeastOnceSink(CONFIG, max_frame_bytes=max_frame_bytes)

    @property
    def sent(self) -> list[tuple[Any, ...]]:
        return [(topic, value) for producer in self.producers for call, topic, value in producer.log[1:]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


async def test_one_producer_connects_once_and_is_closed(made: Made) -> None:
    """However many open it at the same time; a delivery opens it as well."""
    assert made.sink.name == "Kafka results (broker:9092)"
    await asyncio.gather(made.sink.open(), made.sink.open())
    await made.sink.deliver(outcomes("RP"))
    assert len(made.producers) == 1
    assert made.producers[0].options == {"max_frame_bytes": 10}
    assert [topic for topic, _ in made.sent] == [CONFIG.results_topic] * 2
    await made.sink.close()
    await made.sink.close()
    assert made.producers[0].stopped == 1
    await made.sink.deliver(outcomes("R"))
    assert len(made.producers) == 2


async def test_a_producer_that_cannot_connect_says_why(made: Made) -> None:
    """Another attempt makes another one."""
    made.next_fails = {"start": [KafkaTimeoutError("late")]}
    with pytest.raises(SinkUnavailableError, match="late"):
        await made.sink.open()
    await made.sink.open()
    assert [producer.stopped for producer in made.producers] == [1, 0]


async def test_a_letter_that_the_topic_refuses_for_its_size_goes_by_reference(made: Made) -> None:
    """It alone: results that arrived are not sent again."""
    made.next_fails = {}
    await made.sink.open()
    made.producers[0].fails = {"answer": []}
    answers = [None, MessageSizeTooLargeError("big"), None]
    send = made.producers[0].send

    async def answering(topic: str, value: Any, **more: Any) -> "asyncio.Future[object]":
        error = answers.pop(0) if answers else None
        made.producers[0].fails = {"answer": [error] if error is not None else []}
        return await send(topic, value, **more)

    made.producers[0].send = answering  # type: ignore[method-assign] # as the test says
    await made.sink.deliver([unreadable(b"xyz"), *outcomes("P")])
    assert [value if topic == CONFIG.dead_letter_topic else None for topic, value in made.sent] == [
        None,
        b"xyz",
        None,
        b"",
    ]


async def test_a_record_that_is_too_large_without_a_frame_is_the_end(made: Made) -> None:
    """Another attempt would not help."""
    await made.sink.open()
    made.producers[0].fails = {"answer": [MessageSizeTooLargeError("big")] * 9}
    with pytest.raises(SinkError, match="larger than its topic takes, without a frame in it") as caught:
        await made.sink.deliver(outcomes("P"))
    assert not caught.value.retriable


@pytest.mark.parametrize(
    ("error", "passes", "producers"),
    [
        (KafkaTimeoutError("late"), True, 1),
        (ProducerFenced("old"), True, 2),
        (TopicAuthorizationFailedError(CONFIG.results_topic), False, 1),
    ],
)
@pytest.mark.parametrize("call", ["send", "answer"])
async def test_an_error_is_told_and_a_producer_of_no_use_replaced(
    made: Made, error: Exception, passes: bool, producers: int, call: str
) -> None:
    """The same outcomes may be delivered again where it passes."""
    await made.sink.open()
    made.producers[0].fails = {call: [error]}
    with pytest.raises(SinkError) as caught:
        await made.sink.deliver(outcomes("RP"))
    assert caught.value.retriable is passes
    await made.sink.deliver(outcomes("RP"))
    assert len(made.producers) == producers
    assert made.producers[0].stopped == producers - 1
