"""Which patches become rows of a memory bank: exact greedy k-centre for a fit, online greedy for learning.

- `greedy.greedy_coreset`: the rows of a fit, by Gonzalez' farthest-first rule, exactly and in order.
- `online_state.OnlineCoreset`: the rows as they learn, fold by fold; `online.learn` and its twin in steps,
  `learn_steps`, make the next state. `admission` says which patches of a frame join, `thinning` what stays over the
  row budget, `rows` how row numbers changed.
- `event_log.Learning`: the log of what was learned and aged; a replay without a frame unlearns it.

Plain greedy makes a pass over all vectors for each centre. Three files of bounds avoid that, and `greedy_coreset` gives
the same rows; together they are the figure `coreset` of tests/bench/README.md, 160 times as fast as anomalib's choice:

- `centre_distances.CentreDistances` applies a block of centres by one matrix product, and looks only at vectors that
  may be among the farthest: their upper bounds stay valid whatever centres come. `nearest_centres` keeps 12 bytes a
  vector for that. By themselves the late comparisons halve the pairs, and gain nothing.
- `locality` finds the strides at which the array is alike, so that a vector is first compared with the centres that its
  neighbours are near to. With these hints a fifth of the pairs is left.
- `lower_bounds` rules out pairs by 8-bit codes (CPU) or few dimensions (GPU) once a centre moves few vectors;
  `candidate_pairs` measures the rest, and takes plain products while those are cheaper.

Everything rests on 16-bit integers, whose squared distances float64 holds exactly: bounds in float32 only rule out what
their error allows, so the rows are the same on any machine.

This room knows nothing of frames' images, thresholds and stores: it is given integer vectors and names.
"""
