"""Folders of images, inspected and evaluated without a service.

| file | holds |
|---|---|
| `image_files` | images found, read and inspected, with the stream's limits on size |
| `image_folder` | which files of a folder are learned from, and what is left out |
| `first_look` | every image read once before a fit: sizes, greys, copies |
| `findings` | what a first look tells, and what it refuses |
| `name_groups` | images that belong together by their names |
| `fit_options` | sizes, tiles and shares as a person writes them |
| `mvtec` | the layout of a labelled data set: what is learned from, and what is judged by, with its masks |
| `best_f1` | the threshold of an evaluation's best F1, and whether it is this bank's |
| `evaluation` | scores and figures of a data set by a bank |
| `fit_report` | what is said of a fit, and what must not be overlooked of it |
| `look_first` | the oddest images of a fit as pictures |
| `charts` | the ROC curve and the scores, as PNG |
| `overlay` | an image beside its anomaly map |

The room must not know brokers, settings or the terminal: commands print what it gives.
"""
