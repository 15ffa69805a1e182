"""Which worker of the group gets which partition: as few as possible move, and who gets one knows from whom.

Every worker tells, as it joins, which partitions it held in the group's last round, and of which it may still have
frames in flight. The leader leaves partitions where they are as far as the shares are even (the idea of Kafka's sticky
assignors, KIP-54), and tells the new owner of a partition whether another worker that lives has still to let it go.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from patchline.stream.support.json_text import decode_json

UserData = TypeVar("UserData", bound="Claim | Terms")

Assignment: TypeAlias = dict[str, list[TopicPartition]]
"""Partitions by member."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker tells of itself as it joins, as JSON."""

    round: int = 0
    """The group's round that gave it what it holds. Where two workers claim a partition, the later round decides."""
    held: list[TopicPartition] = []
    """What that round gave it."""
    open: list[TopicPartition] = []
    """The partitions of which it may have frames in flight."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the leader tells a worker with its partitions, as JSON."""

    round: int = 0
    handed_over: list[TopicPartition] = []
    """Those of which another worker may have frames in flight. It lives, so it lets them go in order."""


class HandoverAssignor(AbstractPartitionAssignor):  # type: ignore[misc] # aiokafka has no types
    """An assignor of one consumer.

    Args:
        claim: what the consumer holds now.
    """

    name = "patchline"

    def __init__(self, claim: Callable[[], Claim]) -> None:
        self._claim = claim
        self.terms = Terms()
        """What the leader said in the last round."""

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What the member sends as it joins."""
        return ConsumerProtocolMemberMetadata(0, sorted(topics), msgspec.json.encode(self._claim()))

    def assign(self, cluster: ClusterMetadata, members: Mapping[str, Any]) -> dict[str, Any]:
        """What the leader sends to each member."""
        claims = {member: _decode_user_data(metadata.user_data, Claim) for member, metadata in members.items()}
        assignment: Assignment = {member: [] for member in members}
        for topic in sorted({topic for metadata in members.values() for topic in metadata.subscription}):
            readers = {member: claims[member] for member, data in members.items() if topic in data.subscription}
            partitions = [TopicPartition(topic, number) for number in sorted(cluster.partitions_for_topic(topic) or ())]
            for member, given in share_out(partitions, readers).items():
                assignment[member] += given
        number = 1 + max(claim.round for claim in claims.values())
        return {
            member: ConsumerProtocolMemberAssignment(0, _by_topic(given), msgspec.json.encode(terms))
            for member, given in assignment.items()
            for terms in [Terms(round=number, handed_over=handed_over(member, given, claims))]
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Keep the terms until they are asked for."""
        self.terms = _decode_user_data(assignment.user_data, Terms)


def share_out(partitions: Iterable[TopicPartition], claims: Mapping[str, Claim]) -> Assignment:
    """Shares that differ by one at most, with as few moves as that allows.

    Args:
        partitions: all there are.
        claims: by member; at least one.
    """
    partitions = sorted(partitions)
    kept: Assignment = {member: [] for member in sorted(claims)}
    free: list[TopicPartition] = []
    for partition in partitions:
        claimants = [member for member in kept if partition in claims[member].held]
        if claimants:
            kept[max(claimants, key=lambda member: claims[member].round)].append(partition)
        else:
            free.append(partition)
    least, more = divmod(len(partitions), len(kept))
    # Whoever has most keeps one more.
    for place, member in enumerate(sorted(kept, key=lambda member: -len(kept[member]))):
        most = least + (place < more)
        free += kept[member][most:]
        del kept[member][most:]
    for partition in sorted(free):
        min(kept.values(), key=len).append(partition)
    return kept


def handed_over(member: str, given: Iterable[TopicPartition], claims: Mapping[str, Claim]) -> list[TopicPartition]:
    """The partitions given to a member that other members have still to let go."""
    others = {partition for other, claim in claims.items() if other != member for partition in claim.open}
    return [partition for partition in given if partition in others]


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        topics.setdefault(topic, []).append(number)
    return list(topics.items())


def _decode_user_data(data: bytes, kind: type[UserData]) -> UserData:
    try:
        return decode_json(data, kind)
    except msgspec.DecodeError:  # another program in the group: it claims nothing
        return kind()
