"""Who gets which partition."""

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocol
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.assignor import Claim, HandoverAssignor, share_out

P = [TopicPartition("frames", number) for number in range(6)]


def test_a_new_worker_takes_one_partition_of_three_workers_with_two_each() -> None:
    """Nothing else moves."""
    claims = {name: Claim(round=1, held=P[2 * n : 2 * n + 2]) for n, name in enumerate("abc")} | {"d": Claim()}
    shares = share_out(P, claims)
    assert sorted(map(len, shares.values())) == [1, 1, 2, 2]
    assert len(shares["d"]) == 1
    assert all(set(shares[name]) <= set(claims[name].held) for name in "abc")


def test_of_two_that_claim_a_partition_the_later_round_has_it() -> None:
    """A worker that was stopped for a while claims what others have had since."""
    shares = share_out(P[:2], {"stopped": Claim(round=3, held=P[:2]), "owner": Claim(round=4, held=[P[0]])})
    assert shares == {"owner": [P[0]], "stopped": [P[1]]}


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 14))), min_size=1, max_size=6))
def test_every_partition_has_one_owner_and_shares_are_even(
    partitions: int, claimed: list[tuple[int, set[int]]]
) -> None:
    """Whatever the members claim."""
    all_of_them = [TopicPartition("frames", number) for number in range(partitions)]
    claims = {
        f"m{n}": Claim(round=round_, held=[TopicPartition("frames", number) for number in held])
        for n, (round_, held) in enumerate(claimed)
    }
    shares = share_out(all_of_them, claims)
    assert sorted(partition for share in shares.values() for partition in share) == all_of_them
    assert max(map(len, shares.values())) - min(map(len, shares.values())) <= 1


@pytest.mark.parametrize(("still_open", "told"), [([], []), ([P[0]], [P[0]])])
def test_a_new_owner_learns_that_the_former_one_lives_and_has_frames_in_flight(
    still_open: list[TopicPartition], told: list[TopicPartition]
) -> None:
    """Through the bytes that travel with the group's protocol."""
    cluster = ClusterMetadata(bootstrap_servers=["broker:9092"])
    cluster._partitions = {"frames": {0: None, 1: None}}
    old, new = HandoverAssignor(lambda: Claim(round=7, held=[P[1]], open=still_open)), HandoverAssignor(Claim)
    members = {
        name: ConsumerProtocol.METADATA.decode(assignor.metadata(["frames"]).encode())
        for name, assignor in (("old", old), ("new", new))
    }
    sent = new.assign(cluster, members)
    assert sent["old"].partitions() == [P[1]]
    assert sent["new"].partitions() == [P[0]]
    new.on_assignment(ConsumerProtocol.ASSIGNMENT.decode(sent["new"].encode()))
    assert (new.terms.round, new.terms.handed_over) == (8, told)
