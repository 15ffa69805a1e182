"""Feedback over a real broker: one owner a recipe, every record answered, nothing done twice or lost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.feedback import _MAX_NAME, KafkaFeedback, _refused
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import (
    Feedback,
    FeedbackOutcome,
    FeedbackReply,
    FeedbackVerdict,
    GenerationAnnounced,
)
from patchline.stream.model.identity import Identity, Role
from patchline.stream.model.result import GenerationRef
from patchline.stream.wire.feedback import feedback_record
from patchline.stream.wire.signatures import FeedbackKeys, SigningKey


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
    inbox = KafkaFeedback(config)
    await inbox.open()
    assert (await anext(inbox.feedback())).feedback_id == "good"
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


@pytest.mark.parametrize(("length", "named"), [(0, False), (1, True), (_MAX_NAME, True), (_MAX_NAME + 1, False)])
def test_a_refusal_is_named_by_the_records_id_where_that_is_short_enough(length: int, named: bool) -> None:
    """Else by where the record lies, so that every answer fits into a message."""
    record = SimpleNamespace(topic="feedback", partition=1, offset=7, key=b"plate", headers=[("ce_id", b"x" * length)])
    reply = _refused(record, RecordError("no feedback"))
    assert reply.feedback_id == ("x" * length if named else "feedback/1/7")
    assert (reply.outcome, reply.recipe) == (FeedbackOutcome.REFUSED, "plate")
