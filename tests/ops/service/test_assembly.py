"""How results reach Kafka follows the setting."""

from typing import Any

import pytest

from patchline.ops.service.assembly import ledger_of, sinks_of
from patchline.ops.settings.cameras import RecipeSettings
from patchline.ops.settings.model import Settings
from patchline.ops.settings.servers import KafkaSettings
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.model.observer import Observer


@pytest.mark.parametrize(
    ("kafka", "ledger", "sinks"),
    [
        ({"bootstrap": "broker:9092"}, [ExactlyOnceSink], []),
        ({"bootstrap": "broker:9092", "delivery": "exactly_once"}, [ExactlyOnceSink], []),
        ({"bootstrap": "broker:9092", "delivery": "at_least_once"}, [], [AtLeastOnceSink]),
        ({}, [], []),
    ],
)
async def test_results_go_out_one_way(kafka: dict[str, Any], ledger: list[type], sinks: list[type]) -> None:
    """By the ledger unless told otherwise, by the sink with `at_least_once`, never by both; without Kafka, neither."""
    settings = Settings(recipes={"plate": RecipeSettings(bank="banks/plate")}, kafka=KafkaSettings(**kafka))
    found = ledger_of(settings, Observer())
    assert [type(found)] * (found is not None) == ledger
    assert [type(sink) for sink in sinks_of(settings, Observer())] == sinks
