"""How results reach Kafka follows the setting."""

from pathlib import Path
from typing import Any

import pytest

from patchline.engine.errors import BankFileError
from patchline.engine.learning.learner import Learner
from patchline.ops.service.assembly import _newest_readable, ledger_of, sinks_of
from patchline.ops.settings.cameras import RecipeSettings
from patchline.ops.settings.model import Settings
from patchline.ops.settings.servers import KafkaSettings
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.model.observer import Observer
from tests.engine.learning_worlds import confirm, confirmation, new_store


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


def test_another_process_judges_with_the_newest_generation_that_can_be_read(tmp_path: Path) -> None:
    """As the worker does, which goes on with the former one where a later one is damaged."""
    learner = Learner.open(new_store(tmp_path))
    for number in range(2):
        confirm(learner, confirmation(number))
    assert _newest_readable(str(tmp_path)).generation == 3
    (tmp_path / "generation-000003.json").write_text("{}")
    assert _newest_readable(str(tmp_path)).generation == 2
    for path in tmp_path.glob("generation-*.json"):
        path.write_text("{}")
    with pytest.raises(BankFileError, match=r"generation-000003\.json: foreign"):
        _newest_readable(str(tmp_path))
