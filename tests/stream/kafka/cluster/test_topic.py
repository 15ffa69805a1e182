import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, NoBrokersAvailable, TopicAuthorizationFailedError

from patchline.stream.kafka.cluster.topic import TopicSeen, epoch_ends, look_at
from tests.stream.kafka.scripted_clients import ScriptedCluster


async def test_a_topic_is_seen_with_its_id_as_the_tools_print_it() -> None:
    """And with the epochs of its leaders, and the partitions that have none."""
    cluster = ScriptedCluster()
    cluster.topic_id = b"\xff" * 15 + b"\xfe"
    cluster.partitions = {1: (-1, 4), 0: (3, 2)}
    assert await look_at(cluster, "frames") == TopicSeen("____________________" + "_g", {1: 4, 0: 2}, (1,))


async def test_brokers_without_ids_tell_partitions_alone() -> None:
    """So do brokers whose topic has none: it was made before there were ids."""
    cluster = ScriptedCluster()
    expected = TopicSeen(None, dict.fromkeys(range(3)))
    assert await look_at(cluster, "frames") == expected
    cluster.topic_id, cluster.partitions = bytes(16), {0: (1, -1)}
    assert await look_at(cluster, "frames") == TopicSeen(None, {0: None})


async def test_a_topic_that_is_not_there_is_none_and_one_that_is_refused_an_error() -> None:
    """An answer that is about another topic says as much as none."""
    cluster = ScriptedCluster()
    cluster.there = False
    assert await look_at(cluster, "frames") is None
    cluster.there = True
    assert await look_at(cluster, "other") is None
    cluster.code = TopicAuthorizationFailedError.errno
    with pytest.raises(TopicAuthorizationFailedError, match="frames"):
        await look_at(cluster, "frames")
    cluster.code = 5  # some partition has no leader
    assert await look_at(cluster, "frames") is not None


async def test_the_first_broker_that_answers_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where none does, it is an error; a broker too old to be asked is one of them."""
    cluster = ScriptedCluster()
    monkeypatch.setattr(cluster, "brokers", lambda: ScriptedCluster().brokers() * 2)
    cluster.fails = [KafkaConnectionError("away")]
    assert await look_at(cluster, "frames") is not None
    cluster.fails = [NotImplementedError("v0"), KafkaConnectionError("away")]
    with pytest.raises(KafkaConnectionError, match="away"):
        await look_at(cluster, "frames")
    cluster.fails = [KafkaConnectionError("away"), NotImplementedError("v0")]
    with pytest.raises(KafkaError, match="the brokers are too old: v0"):
        await look_at(cluster, "frames")
    monkeypatch.setattr(cluster, "brokers", list)
    with pytest.raises(NoBrokersAvailable):
        await look_at(cluster, "frames")


async def test_ends_of_epochs_are_asked_of_each_leader() -> None:
    """Once each; partitions without a leader are left out, and what no leader knows is None."""
    cluster = ScriptedCluster()
    cluster.partitions = {0: (1, 5), 1: (2, 5), 2: (1, 5), 3: (-1, 5)}
    cluster.epoch_ends = {(0, 4): 10, (1, 4): 20}
    assert await epoch_ends(cluster, "frames", dict.fromkeys(range(4), 4)) == {0: 10, 1: 20, 2: None}
    assert [sorted(request.epochs) for request in cluster.asked] == [[0, 2], [1]]
    cluster.fails = [NotImplementedError("v0")]
    assert await epoch_ends(cluster, "frames", {0: 4}) == {0: None}
    cluster.fails = [KafkaConnectionError("away")]
    assert await epoch_ends(cluster, "frames", {0: 4, 1: 4}) == {1: 20}
    asked = len(cluster.asked)
    assert await epoch_ends(cluster, "frames", {}) == {}
    assert len(cluster.asked) == asked
