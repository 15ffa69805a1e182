"""Frames in ones and twos become batches, and one thread owns the engine that judges them.

| file | holds |
|---|---|
| `engine` | `Engine`, `OverlappingEngine`, `LearningEngine`: what the stream asks of an engine |
| `batcher` | `Batcher`: closes a batch by size or by linger, and gives each lane its share of the places |
| `fair_order` | `FairOrder`: start-time fair queueing, whose item goes next |
| `engine_thread` | `EngineThread`: calls the engine, for frames and for learning; names its errors |
| `scheduler` | `EngineScheduler`: whether a batch or a step of learning runs next, and which figure each rule buys |

An engine that is an `OverlappingEngine` begins a batch before it has answered the last; any other is called batch by
batch. Tests plug in a scripted one: nothing here needs a network or a bank.

The room must not know where frames come from, what they were encoded as, or where results go.
"""
