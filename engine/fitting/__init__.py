"""From images of good parts to generation 1 of a memory bank.

- `fit.fit` is what others call; `stages.FitStages` are its steps: read, embed, choose the coreset, calibrate.
- `precision`: what less than float32 does to the scores of held-out images, measured before it is taken.
- `lowest`: the least precision that holds, tried from int8 upwards.
- `groups`: which images are copies of one picture, told by their `thumbnails`; neither file needs PyTorch.
- `scratch`: the temporary files that keep memory bounded, however many images there are. `prefetch`: images are read
  on a thread of their own while the backbone works.

This room knows nothing of generations after the first, nor of where a bank is stored.
"""
