"""From what an operator says to the next generation of a memory bank.

- `learner.Learner` is what others call: it proposes what a request would make of the bank, in steps between which
  frames may be inspected, and `commit` writes the proposal as the next generation.
- `requests`: what can be asked. `proposals`: what comes of each, built from the `Head` (the newest generation and all
  that the next one follows from) into a `Draft`, both of `draft`.
- `preview`: what an update would change, known before it is taken. It rests on `reference_frames`: frames whose scores
  follow the rows exactly, without scoring them anew; `reference_store` reads and keeps them.
- `doubt`: whether a frame that is said to be good looks like a known defect. `ageing`: which unused rows may leave.
- `known_defects`: their scores over the threshold of a stored generation.
- `replay`: every generation made anew from the log and compared with what is stored.

The reference frames buy the preview: exact, and within milliseconds of learning a frame (the figure `update` of
tests/bench/README.md), where scoring them anew would take a search for every patch of every frame.

This room knows nothing of time, brokers and people's rights: whoever asks brings the time and the operator's name.
"""
