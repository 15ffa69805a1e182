"""The memory bank, its threshold, and the chain of its generations on disk or object storage.

- `memory_bank.MemoryBank`: one immutable generation: rows, where each came from, radius and threshold. Its SHA-256
  covers all that it judges by.
- `calibration`: the threshold as a quantile of good frames' scores; `rates`: which rates so many of them can aim at;
  `figures`: what it aims at, proves and leaves open.
- `store.GenerationStore` writes generations and `reader.GenerationReader` reads them; `save_bank` and `load_bank` are
  their short forms. A generation is a JSON `manifest` and a `tensor_file`, and `assembly` makes a bank of both; `blobs`
  puts them on a disk or in S3. `atomic_files` makes a local file appear whole or not at all, and `regular_file` reads
  one that may be anything.
- `manifest_check`: what no manifest says. A bank is data from elsewhere: nothing in it is taken at its word, and what
  is refused is named by file, field, what was found and what was expected (BankFileError).
- `events`: what made each generation, and the `Chain` that follows from all events; `state` goes from a bank to the
  state of its learning and back.
- `usage_log`: which rows were in use, day by day. `export`: one generation as a bank of its own.

A stored generation is whole every 32nd time and else the change from the one before, so that learning a frame writes
kilobytes. `reader` goes back to the last whole one, or to the bank that it read last.

This room knows nothing of images and networks, and does not decide what is learned: `learning` does.
"""
