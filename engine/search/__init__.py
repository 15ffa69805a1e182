"""Exact nearest neighbours among the rows of a memory bank.

    from patchline.engine.search.factory import make_search
    index = make_search("auto", rows, device)
    distances, nearest = index.search(queries, 1)

All searches keep the promises of `index.NearestNeighbours`, and so find the same rows at the same distances, ties to
the lowest row: something quick proposes candidates, a bound on its error proves that none was missed, and sums of
squared differences of the stored float32 values decide. An index grows in place as the bank learns.

`factory.make_search` dispatches by the kind that was asked for, by device and by size:

- `faiss`: `flat.FaissSearch`, on the CPU. FAISS multiplies all queries with all rows.
- `torch`: `flat.TorchSearch`, on any device. Torch does the same.
- `pruned` on a CPU: `pruned.PrunedSearch`. Products of codes of 8 bits (`int8_codes`), of a width chosen for the bank
  (`code_width`), bound distances from below and rule out most rows; compiled loops make them (`coding`) and pass over
  them (`code_passes`). A few pairs are all measured.
  Where 8-bit products are slow, 16-bit ones are compiled (`word_products`).
- `pruned` on a GPU: `device.DeviceSearch`. Products in half precision bound distances from below; queries that are in
  half precision themselves go through Triton kernels where these can be compiled.
- `auto`: `pruned` on a GPU; on a CPU `faiss` for banks of fewer than 1,024 rows, else whichever of the three is
  measured to be the quickest on this bank and machine.

The pruned search is worth its complexity on a CPU: the figure `search` (tests/bench/README.md) compares it with FAISS
flat at its best. On a GPU the kernels keep the host from
waiting: `fused_search` starts them, `search_kernels` makes bounds and measures rows, `selection_kernels` chooses the
patches that a frame's score needs, and `row_clusters` finds a near row to begin with. `row_neighbours` gives the
neighbours of a bank's own rows that Eq. 7 asks for.

This room knows nothing of images, banks and generations: it is given float32 vectors, and imports `numerics` and
`types` only.
"""
