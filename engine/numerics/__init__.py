"""Numbers and processors: devices and cores, matrix products, and integers whose distances are exact.

- `device`: which device computes and how precisely; full float32 on a GPU; copies to the host that nobody waits for.
- `processor`: what the processor is, which of its instruction sets are in effect, and how many cores it has.
- `core_pool`: frames on cores of their own.
- `runs`: which frames of a batch one core takes together.
- `steps`: long work in steps, between which other work may have the thread.
- `matmul`, `onednn`: matrix products by torch with as many threads as torch has, and weights packed in the layout in
  which oneDNN computes fastest.
- `faiss_library`: the one import of FAISS, after PyTorch's, so that both share their threads, and with kernels that fit
  the processor.
- `compiled`: loops in machine code for this processor.
- `timing`: how long something takes, for what is chosen by measuring.
- `quantise`, `integer_distances`: embeddings as 16-bit integers with one scale a recipe, and exact squared distances
  between them. So whatever is learned comes out the same on any machine.
- `projection`: principal axes, which bound distances from below, and random directions.
- `rounding`: the unit round-offs on which such bounds rest.

What `core_pool` buys: with one frame on each core instead of all cores on each frame, nothing waits at the end of every
layer, and a frame's search overlaps with the next one's network. The figure `efficiency` rests on it: 0.89 of the bare
backbone's frames/s with the search included (tests/bench/README.md). Its rules about a rest of frames, and about when
one frame is shared by all cores, keep the latency of a frame that comes alone low. A frame's result does not depend on
how it was spread, bit for bit.

This room knows nothing of images, networks, banks or searches. It imports `types` and `errors` only.
"""
