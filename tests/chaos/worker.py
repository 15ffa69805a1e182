"""`patchline run`, and on SIGUSR1 it stops itself (SIGSTOP) within its next transaction: all sent, nothing committed.

`python -m tests.chaos.worker SETTINGS`. What it adds to the service's log is JSON lines as well.
"""

import json
import os
import signal
import sys

from aiokafka import AIOKafkaProducer

from patchline.ops.cli import main

_armed = False


def _arm(*_: object) -> None:
    global _armed
    _armed = True


def _stop_in_transactions() -> None:
    commit = AIOKafkaProducer.commit_transaction

    async def commit_transaction(self: AIOKafkaProducer) -> None:
        global _armed
        if _armed:
            _armed = False
            partition = int(self._txn_manager.transactional_id.rpartition("/")[2])
            print(json.dumps({"event": "in transaction", "partition": partition}), file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        await commit(self)

    AIOKafkaProducer.commit_transaction = commit_transaction


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _arm)
    _stop_in_transactions()
    sys.argv = ["patchline", "run", sys.argv[1]]
    main()
