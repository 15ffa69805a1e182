"""Outcomes as Kafka records: results, and the dead letters of frames that were not inspected."""

from collections.abc import Sequence

from patchline.engine.types import Verdict
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.cloudevents import Record
from patchline.stream.wire.results import dead_letter_record, result_record


def records_of(outcomes: Sequence[Outcome], config: KafkaConfig, max_frame_bytes: int) -> list[tuple[str, Record]]:
    """(topic, record) of each result, and of each dead letter. The same outcomes always give the same bytes.

    Frames of more than `max_frame_bytes` are dead-lettered by reference. With 0 all are: for topics that turn out to
    take less than the settings say, so that a dead letter never holds up a partition.
    """
    records: list[tuple[str, Record]] = []
    for outcome in outcomes:
        records.append((config.results_topic, result_record(outcome.result, outcome.frame.position)))
        if outcome.result.verdict is Verdict.NOT_INSPECTED:
            letter = dead_letter_record(outcome, max_frame_bytes)
            if letter is not None:
                records.append((config.dead_letter_topic, letter))
    return records
