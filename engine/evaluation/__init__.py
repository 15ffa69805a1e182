"""How well scores and anomaly maps tell good frames from defective ones.

- `metrics`: `evaluate` makes an `Evaluation` of a test set, overall and by defect type: AUROC, F1, false rejects and
  escapes at a threshold. A figure that the frames at hand cannot give is None, with the reason beside it.
- `pixel_metrics`: `PixelTally` counts pixels of maps against ground-truth masks, frame by frame, and gives pixel AUROC
  and AUPRO without keeping a map.

This room knows nothing of banks, recipes and images: it is given scores, names of kinds, maps and masks.
"""
