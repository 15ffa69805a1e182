"""Feedback over a real broker: one owner a recipe, every record answered, nothing done twice or lost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.feedback import _MAX_NAME, KafkaFeedback, _refused
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.errors import Foreign, RecordError
from patchline.stream.model.feedback import (
    Feedback,
    FeedbackOutcome,
    FeedbackReply,
    FeedbackVerdict,
    GenerationAnnounced,
    UpdatePreview,
)
from patchline.stream.model.identity import Identity, Role
from patchline.stream.model.result import GenerationRef
from patchline.stream.wire.feedback import feedback_record
from patchline.stream.wire.signatures import FeedbackKeys, SigningKey
from tests.stream.kafka.scripted_clients import ScriptedConsumer
from tests.stream.scripted import Recorder


async def learning_topics(kafka: str, unique_name: Callable[[str], str]) -> KafkaConfig:
    config = KafkaConfig(
        bootstrap_servers=kafka,
        group=unique_name("group"),
        frames_topic=unique_name("frames"),
        results_topic=unique_name("results"),
        dead_letter_topic=unique_name("dead_letter"),
        feedback_topic=unique_name("feedback"),
        feedback_replies_topic=unique_name("feedback_replies"),
        generations_topic=unique_name("generations"),
    )
    await ensure_topics(config, max_frame_bytes=2**20, partitions=Partitions(feedback=3), replication=1, learning=True)
    return config


def feedback(feedback_id: str, recipe: str = "plate", **more: Any) -> Feedback:
    return Feedback(
        feedback_id=feedback_id,
        recipe=recipe,
        frame_id=f"frame of {feedback_id}",
        verdict=FeedbackVerdict.CONFIRM_GOOD,
        operator="ada",
        time=datetime.now(UTC),
        **more,
    )


def answer(to: Feedback) -> FeedbackReply:
    return FeedbackReply(
        feedback_id=to.feedback_id, recipe=to.recipe, outcome=FeedbackOutcome.LEARNED, time=datetime.now(UTC)
    )


async def replies_of(inbox: KafkaFeedback, *ids: str) -> dict[str, FeedbackReply]:
    """The answers as the inbox comes to know them, which it does while it follows."""
    following = asyncio.ensure_future(anext(inbox.announced()))
    async with asyncio.timeout(60):
        while not all(inbox.reply(name) for name in ids):
            await asyncio.sleep(0.02)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return {name: reply for name in ids if (reply := inbox.reply(name)) is not None}


async def test_unsettled_feedback_is_given_again_and_settled_is_not(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """A worker that ends before its answer leaves the feedback to the next; an answered one is done."""
    config = await learning_topics(kafka, unique_name)
    first, second = KafkaFeedback(config), KafkaFeedback(config)
    await first.open()
    await first.submit(feedback("a"))
    await first.submit(feedback("b", image=b"\xff\xd8inline"))
    given = first.feedback()
    a = await anext(given)
    await first.answer(a, answer(a))
    b = await anext(given)
    assert (a.feedback_id, b.feedback_id, b.image) == ("a", "b", b"\xff\xd8inline")
    await first.close()

    await second.open()
    again = second.feedback()
    assert (await anext(again)).feedback_id == "b"
    await second.answer(b, answer(b))
    replies = await replies_of(second, "a", "b")
    assert {reply.outcome for reply in replies.values()} == {FeedbackOutcome.LEARNED}
    await second.close()


async def test_what_is_no_feedback_is_answered_and_blocks_nothing(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """Records of all kinds of wrong are answered with what was found and expected, and the next is given."""
    config = await learning_topics(kafka, unique_name)
    key, value, headers = feedback_record(feedback("good"))
    wrong = {
        "no-json": (headers, b"{"),
        "no-operator": (headers, value.replace(b'"operator":"ada"', b'"operator":" "')),
        "verdict": (headers, value.replace(b"confirm_good", b"maybe")),
        "unknown-field": (headers, value.replace(b'"operator"', b'"who":1,"operator"')),
        "type": ([("ce_type", b"io.patchline.frame.v1")], value),
    }
    async with AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=2 * 2**20) as producer:
        for name, (given, text) in wrong.items():
            named = [("ce_id", name.encode()), *(h for h in given if h[0] != "ce_id")]
            await producer.send_and_wait(config.feedback_topic, text, key=key, headers=named)
        last = await producer.send_and_wait(config.feedback_topic, b"x", key=key)
        huge = [("ce_id", b"i" * 600_000), ("ce_type", b"t" * 600_000)]  # an answer that repeats it would not fit
        last = await producer.send_and_wait(
            config.feedback_topic, b"x", key=key * 100_000, headers=huge, partition=last.partition
        )
        await producer.send_and_wait(config.feedback_topic, value, key=key, headers=headers)
    seen = Recorder()
    inbox = KafkaFeedback(config, observer=seen)
    await inbox.open()
    assert (await anext(inbox.feedback())).feedback_id == "good"
    assert [what for what, _ in seen.passed_over] == [Foreign.FEEDBACK] * (len(wrong) + 2)
    assert max(len(said) for _, said in seen.passed_over) < 400
    replies = await replies_of(inbox, *wrong, f"{config.feedback_topic}/{last.partition}/{last.offset}")
    said = {name: reply.detail for name, reply in replies.items()}
    assert "truncated" in said["no-json"]
    assert "operator is ' ', expected 1 to 1024 characters" in said["no-operator"]
    assert "Invalid enum value 'maybe'" in said["verdict"]
    assert "unknown field `who`" in said["unknown-field"]
    assert "'io.patchline.frame.v1', expected 'io.patchline.feedback.v1'" in said["type"]
    assert {reply.outcome for reply in replies.values()} == {FeedbackOutcome.REFUSED}
    await inbox.close()


async def test_what_is_signed_is_somebodys(kafka: str, unique_name: Callable[[str], str]) -> None:
    """What a worker signed keeps the identity of whoever asked it; unsigned is nobody's; a wrong one is answered."""
    config = await learning_topics(kafka, unique_name)
    keys = {"line-3": SigningKey(Identity("line-3", frozenset({Role.WORKER})), b"k" * 32)}
    worker = KafkaFeedback(config, keys=FeedbackKeys(keys, sign_with="line-3"))
    others = [FeedbackKeys(keys), FeedbackKeys({"line-3": replace(keys["line-3"], secret=b"x")}, "line-3")]
    plain, forger = (KafkaFeedback(config, keys=one, answers=False) for one in others)
    for inbox in (worker, plain, forger):
        await inbox.open()
    try:
        await forger.submit(feedback("forged", identity="kim"))
        await plain.submit(feedback("plain", identity="kim"))
        await worker.submit(feedback("signed", identity="kim"))
        given = [await asyncio.wait_for(anext(one), 60) for one in [worker.feedback()] for _ in range(2)]
        assert {one.feedback_id: one.identity for one in given} == {"plain": None, "signed": "kim"}
        reply = (await replies_of(worker, "forged"))["forged"]
        assert reply.outcome is FeedbackOutcome.REFUSED
        assert "ce_signature is not that of the key 'line-3'" in reply.detail
    finally:
        await asyncio.gather(*(inbox.close() for inbox in (worker, plain, forger)))


async def test_generations_are_followed_from_the_first_on_a_compacted_topic(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """A worker that starts later sees what was announced before; the topic keeps the newest of each recipe."""
    config = await learning_topics(kafka, unique_name)
    inbox, later = KafkaFeedback(config), KafkaFeedback(config)
    await inbox.open()
    announced = [
        GenerationAnnounced(
            recipe="plate",
            generation=GenerationRef(number=n, sha256=f"{n}" * 64),
            rows=100 + n,
            threshold=9.5,
            time=datetime.now(UTC),
        )
        for n in (2, 3)
    ]
    for one in announced:
        await inbox.announce(one)
    await later.open()
    following = later.announced()
    assert [await anext(following), await anext(following)] == announced
    await inbox.close()
    await later.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, config.generations_topic)])
    await admin.close()
    entries = {key: text for key, text, *_ in described[0].resources[0][4]}
    assert entries["cleanup.policy"] == "compact"


async def test_records_of_others_among_replies_and_generations_are_passed_over(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """Each is told, and what is ours behind it is followed; a tombstone of the compacted topic is among them."""
    config, seen = await learning_topics(kafka, unique_name), Recorder()
    announced = GenerationAnnounced(
        recipe="plate",
        generation=GenerationRef(number=2, sha256="2" * 64),
        rows=1,
        threshold=9.5,
        time=datetime.now(UTC),
    )
    foreign = [None, b"", b"\xff" * 100, b"[" * 1000, b'{"recipe": "plate"}']
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for topic in (config.generations_topic, config.feedback_replies_topic):
            for value in foreign:
                headers = [("ce_type", b"io.patchline.generation.v1")]
                await producer.send_and_wait(topic, value, key=b"plate", headers=headers)
    inbox = KafkaFeedback(config, observer=seen)
    await inbox.open()
    await inbox.announce(announced)
    assert await asyncio.wait_for(anext(inbox.announced()), 60) == announced
    asked = feedback("a")
    await inbox.answer(asked, answer(asked))
    await replies_of(inbox, "a")
    kinds = [what for what, _ in seen.passed_over]
    assert (kinds.count(Foreign.GENERATION), kinds.count(Foreign.FEEDBACK_REPLY)) == (5, 5)
    await inbox.close()


async def test_an_answer_that_is_too_large_goes_without_its_preview(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """It would stop the worker; what became of the feedback is what counts."""
    config = await learning_topics(kafka, unique_name)
    inbox = KafkaFeedback(config, max_frame_bytes=1024)
    await inbox.open()
    preview = UpdatePreview(
        rows_added=1,
        rows_removed=0,
        threshold_before=1.0,
        threshold_after=1.0,
        cleared=(),
        rejects=0,
        hidden=tuple("d" * 1000 for _ in range(3000)),
        defects=3000,
    )
    asked = feedback("a")
    await inbox.answer(asked, msgspec.structs.replace(answer(asked), preview=preview))
    reply = (await replies_of(inbox, "a"))["a"]
    assert (reply.outcome, reply.preview) == (FeedbackOutcome.LEARNED, None)
    await inbox.close()


@pytest.mark.parametrize(("length", "named"), [(0, False), (1, True), (_MAX_NAME, True), (_MAX_NAME + 1, False)])
def test_a_refusal_is_named_by_the_records_id_where_that_is_short_enough(length: int, named: bool) -> None:
    """Else by where the record lies, so that every answer fits into a message."""
    record = SimpleNamespace(topic="feedback", partition=1, offset=7, key=b"plate", headers=[("ce_id", b"x" * length)])
    reply = _refused(record, RecordError("no feedback"))
    assert reply.feedback_id == ("x" * length if named else "feedback/1/7")
    assert (reply.outcome, reply.recipe) == (FeedbackOutcome.REFUSED, "plate")


async def test_feedback_that_is_gone_before_it_is_read_is_told() -> None:
    """Reading goes on at the first that is left; where the group begins, nothing is gone."""
    seen, consumer = Recorder(), ScriptedConsumer(topics=["feedback"])
    inbox = KafkaFeedback(KafkaConfig(feedback_topic="feedback"), observer=seen)
    partitions = [TopicPartition("feedback", number) for number in range(4)]
    consumer.firsts = dict.fromkeys(partitions, 5)
    consumer.ends = dict.fromkeys(partitions, 9)
    expired, cut, come, begun = partitions
    consumer.fails = [OffsetOutOfRangeError({expired: 2, cut: 12, come: 9})]
    assert await inbox._poll(consumer, "feedback", most=1) == []
    assert consumer.seeks == [(expired, 5), (cut, 5)]
    consumer.fails = [NoOffsetForPartitionError(begun)]
    assert await inbox._poll(consumer, "feedback", most=1) == []
    assert consumer.seeks[2:] == [(begun, 5)]
    assert seen.feedback_gaps == [(0, "expired", 2, 5, 3), (1, "truncated", 12, 5, None)]
    consumer.fails = [IllegalStateError("not assigned")]
    assert await inbox._poll(consumer, "feedback", most=1) == []


async def test_feedback_that_expires_while_nobody_reads_is_counted(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """To the record, and the rest is given."""
    config = await learning_topics(kafka, unique_name)
    inbox = KafkaFeedback(config)
    await inbox.open()
    try:
        await inbox.submit(feedback("one"))
        async with asyncio.timeout(60):
            found = await anext(inbox.feedback())
        ((partition, _),) = inbox._places.values()
        await inbox.answer(found, answer(found))
        for name in ("two", "three", "four"):
            await inbox.submit(feedback(name))
    finally:
        await inbox.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=3)})
    await admin.close()
    seen = Recorder()
    inbox = KafkaFeedback(config, observer=seen)
    await inbox.open()
    try:
        async with asyncio.timeout(60):
            assert (await anext(inbox.feedback())).feedback_id == "four"
    finally:
        await inbox.close()
    assert seen.feedback_gaps == [(partition.partition, "expired", 1, 3, 2)]
