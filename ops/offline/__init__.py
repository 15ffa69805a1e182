"""Folders of images, inspected and evaluated without a service.

| file | holds |
|---|---|
| `image_files` | images found, read and inspected, with the stream's limits on size |
| `mvtec` | the layout of a labelled data set: good and defective images, and their masks |
| `evaluation` | scores and figures of a data set by a bank |
| `fit_report` | what is said of a fit, and what must not be overlooked of it |
| `charts` | the ROC curve and the scores, as PNG |
| `overlay` | an image beside its anomaly map |

The room must not know brokers, settings or the terminal: commands print what it gives.
"""
