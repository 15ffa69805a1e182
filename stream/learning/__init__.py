"""The way back: feedback -> learn -> store -> announce -> swap.

| file | holds |
|---|---|
| `loop` | `LearningLoop`: the way back on one screen; follows what other workers learned |
| `recipe` | `RecipeLearning`: one recipe's learner in this worker, its lock, and the frames it learns from |
| `inbox` | `FeedbackInbox`: the port that feedback comes from and answers go to; `LocalInbox` without Kafka |
| `ageing` | `RowAgeing`: rows that nothing uses leave the bank, once a day |
| `drift` | `DriftWatch`: compares each camera's latest frames with calibration |

The store of generations is the truth: whoever creates a generation first wins, and the others begin anew from it. All
that computes runs in steps between batches (`inspection/scheduler.py`), all that reads or writes the store on threads
of its own. A worker never goes back to an older generation. The room must not know brokers: `inbox` is all it sees.
"""
