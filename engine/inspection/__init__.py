"""From a frame to a verdict: nearest rows, the score of Eq. 6-7, an anomaly map where one is wanted, drift.

- `inspector.Inspector` is what others call: frames of any loaded recipes in, an `Inspection` each out.
- It dispatches by device. On a CPU `judge.Judge` takes one frame a core, so that a frame scores bit for bit the same
  alone and in any batch. On a GPU `batch_judge.BatchJudge` takes a batch as a few large tensor operations, and the host
  waits for a batch, never for a frame.
- `scoring` holds Eq. 6-7 for both; `stored_scores` for frames kept as integers, which may pass over the rows of a fold;
  `anomaly_map` the maps.
- `matching`: whether a bank holds what its backbone makes, and what all generations have in common.
- `drift` tells whether what a camera shows has moved away from the calibration.

A new generation is made ready beside the old one (`Inspector.swap_steps`) and taken between two batches.

This room knows nothing of stores, cameras and operators: it is given banks and prepared images.
"""
