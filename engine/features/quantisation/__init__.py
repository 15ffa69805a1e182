"""Networks on a CPU in less than float32: 8-bit integers (int8) or bfloat16, as the recipe's backbone states.

The precision is the recipe's: scores and threshold rest on it, so it travels in the bank, with the ranges by which
values are rounded. `fit` takes it only after it has measured that verdicts hold (`fitting.precision`).

- `processor`: whether this processor computes what the bank rests on; where it does not, an error says so by name.
- `ranges`: the smallest and largest value of each tensor, observed on the fit's images, and the integers they become.
- `int8`: the pass over a traced network that decides which tensors are 8-bit integers; `layers` are what it calls.
- `bfloat16`: the same network with bfloat16 weights and activations.

**int8.** Activations are unsigned 8-bit integers with one scale and zero point a tensor (Jacob et al., "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018), weights signed ones with a
scale for each output channel. Of the eight bits of a weight seven are used: processors without VNNI add two products in
16 bits, which 255 * 127 * 2 overflows and 255 * 64 * 2 does not. So the integer sums are exact on every processor, in
any order and with any number of threads; what may differ is the last digit of their scaling, and so, rarely, which of
two integers a value midway between them becomes. Tapped stages, and residual sums that lead to them, are in float32:
embeddings do not pass through 8 bits again.

**bfloat16.** Sums are in float32 and every tensor is rounded to 8 significant bits. Processors without instructions
for it round at other places, so they refuse.

Either runs by oneDNN, never by OpenVINO, and on no GPU.
"""
