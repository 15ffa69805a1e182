"""A worker as a process: the stream with the scripted engine. `python -m tests.stream.worker '{"config": {…}, …}'`.

`stop_at` stops the process (SIGSTOP), `kill_at` kills it, at its n-th transaction: all is sent, nothing is committed.
SIGTERM drains, once it has printed that it can. It prints a line for every assignment and every lost partition.
"""

import asyncio
import json
import os
import signal
import sys

from aiokafka import AIOKafkaProducer

from stream.config import KafkaConfig, Limits
from stream.deadline import Deadline
from stream.kafka_ledger import KafkaLedger
from stream.kafka_source import KafkaSource
from stream.pipeline import Pipeline
from tests.stream.scripted import Recorder, ScriptedEngine


class _Teller(Recorder):
    def partitions(self, topic, partitions):
        print("owns", *partitions, flush=True)

    def retrying(self, what, error, attempt):
        print("retrying", what, error, flush=True)


def _signal_at(number: int, what: signal.Signals) -> None:
    commit, count = AIOKafkaProducer.commit_transaction, 0

    async def commit_transaction(self: AIOKafkaProducer) -> None:
        nonlocal count
        count += 1
        if count == number:
            print("in transaction", flush=True)
            os.kill(os.getpid(), what)
        await commit(self)

    AIOKafkaProducer.commit_transaction = commit_transaction


async def _main(config: KafkaConfig, seconds: float) -> None:
    seen = _Teller()
    ledger = KafkaLedger(config, observer=seen)
    pipeline = Pipeline(
        sources=[KafkaSource(config, observer=seen, ledger=ledger)],
        engine=ScriptedEngine(seconds=seconds),
        ledger=ledger,
        sinks=[],
        limits=Limits(batch_size=4),
        observer=seen,
    )
    draining = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: draining.append(asyncio.create_task(pipeline.drain(Deadline(20)))))
    print("can drain", flush=True)
    await pipeline.run()
    print("drained", flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    for key, what in (("stop_at", signal.SIGSTOP), ("kill_at", signal.SIGKILL)):
        if key in given:
            _signal_at(given[key], what)
    asyncio.run(_main(KafkaConfig(**given["config"]), given.get("seconds", 0.02)))
