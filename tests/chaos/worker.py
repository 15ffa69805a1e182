"""`patchline run`, which stops itself or hangs where a signal tells it to.

`python -m tests.chaos.worker SETTINGS`. On `STOP_IN_TRANSACTION` it stops itself (SIGSTOP) within its next transaction:
all sent, nothing committed. On `HANG_ENGINE` the engine's thread hangs at its next batch, on `HANG_CONSUMER` whatever
asks the brokers for more. What it adds to the service's log is JSON lines as well. The signals are of those that the
service has no use for.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from patchline.engine.inspection.inspector import Inspector
from patchline.ops.cli import main
from tests.chaos.loop_meter import METERED, meter_steps

STOP_IN_TRANSACTION = int(signal.SIGRTMIN)
HANG_ENGINE = STOP_IN_TRANSACTION + 1
HANG_CONSUMER = STOP_IN_TRANSACTION + 2
WARM = ("patchline.ops.service.service", "patchline.ops.commands.run", "torchvision", "faiss", "av")
"""What a worker imports late; whoever forks workers imports it before."""
_told: set[int] = set()


def _tell(number: int, _: object) -> None:
    _told.add(number)


def _say(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), file=sys.stderr, flush=True)


def _stop_in_transactions() -> None:
    commit = AIOKafkaProducer.commit_transaction

    async def commit_transaction(self: AIOKafkaProducer) -> None:
        if STOP_IN_TRANSACTION in _told:
            _told.discard(STOP_IN_TRANSACTION)
            partition = int(self._txn_manager.transactional_id.rpartition("/")[2])
            _say("in transaction", partition=partition)
            os.kill(os.getpid(), signal.SIGSTOP)
        await commit(self)

    AIOKafkaProducer.commit_transaction = commit_transaction


def _hang() -> None:
    getmany = AIOKafkaConsumer.getmany

    def hanging(call: Callable[..., Any]) -> Callable[..., Any]:
        def hangs(self: Inspector, frames: Sequence[Any], **options: Any) -> Any:
            if HANG_ENGINE in _told:
                _say("engine hangs")
                threading.Event().wait()
            return call(self, frames, **options)

        return hangs

    async def silent(self: AIOKafkaConsumer, *partitions: Any, **options: Any) -> Any:
        if HANG_CONSUMER in _told:
            _say("consumer hangs")
            await asyncio.Event().wait()
        return await getmany(self, *partitions, **options)

    for name in ("inspect", "begin"):
        setattr(Inspector, name, hanging(getattr(Inspector, name)))
    AIOKafkaConsumer.getmany = silent


def run(settings: str) -> None:
    """Run the service with these settings, ready to be told."""
    if (least_s := os.environ.get(METERED)) is not None:
        meter_steps(_say, float(least_s))
    for number in (STOP_IN_TRANSACTION, HANG_ENGINE, HANG_CONSUMER):
        signal.signal(number, _tell)
    _stop_in_transactions()
    _hang()
    sys.argv = ["patchline", "run", settings]
    main()


if __name__ == "__main__":
    run(sys.argv[1])
