"""When a worker says that it takes frames, and what it says where it does not."""

from patchline.ops.service.readiness import Readiness


def test_a_worker_all_of_whose_frames_wait_for_storage_is_not_ready() -> None:
    """One that inspects other partitions is, and says what it waits for; so it says before its start, too."""
    state = Readiness()
    state.partitions("frames", [0, 1])
    state.frame_storage("s3://line-3", False)
    assert state.why_not_ready() == "starting"
    state.ready(True)
    assert state.why_not_ready() is None
    assert state.waiting_for() == "waiting for the storage of frames at s3://line-3: 1 of 2 partitions"
    state.frame_storage("/srv/frames", False)
    state.lanes_held(2)
    both = "waiting for the storage of frames at /srv/frames, s3://line-3: 2 of 2 partitions"
    assert state.why_not_ready() == state.waiting_for() == both
    state.kafka(False, "broker:9092 is away")
    assert state.why_not_ready() == f"broker:9092 is away; {both}"
    state.kafka(True, None)
    state.partitions("frames", [0, 1, 2])  # another worker has left
    assert state.why_not_ready() is None
    state.frame_storage("s3://line-3", True)
    state.frame_storage("/srv/frames", True)
    assert state.waiting_for() is None


def test_a_worker_that_gets_no_frames_from_kafka_is_not_ready() -> None:
    """It says why, also while it starts and stops; it is ready as soon as they come again."""
    state = Readiness()
    assert state.why_not_ready() == "starting"
    state.say("waiting for Kafka")
    state.kafka(False, "broker:9092 is away")
    assert state.why_not_ready() == "waiting for Kafka; broker:9092 is away"
    state.ready(True)
    assert state.why_not_ready() == "broker:9092 is away"
    state.kafka(True, None)
    assert state.why_not_ready() is None
    state.ready(False)
    assert state.why_not_ready() == "stopping"
