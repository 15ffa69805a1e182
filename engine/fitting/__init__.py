"""From images of good parts to generation 1 of a memory bank.

- `fit.fit` is what others call; `stages.FitStages` are its steps: embed, choose the coresets, calibrate.
- `folds` deals the images; `union` is the bank of all folds' rows, and scores an image by the rows of the other folds.
- `contamination`: which images look like defects. `setting_aside`: these give no rows, or leave the fit. `chosen`: some
  images, by their names. `oddest`: the images to look at first, each with its map.
- `precision`: what less than float32 does to the scores of good images, measured before it is taken.
- `lowest`: the least precision that holds, tried from int8 upwards.
- `groups`: which images are copies of one picture, told by their `thumbnails`; `numbering` numbers them. None of
  these files needs PyTorch.
- `scratch`: the temporary files that keep memory bounded, however many images there are. `reading` brings images to the
  recipe's size, and refuses some; `prefetch`: they are read on a thread of their own while the backbone works.

This room knows nothing of generations after the first, nor of where a bank is stored.
"""
