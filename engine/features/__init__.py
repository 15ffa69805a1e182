"""From pixels to patch embeddings: preprocessing, a pretrained network up to its last tapped stage, patches.

    from patchline.engine.features.extractor import load_backbone
    embeddings, grid = load_backbone(recipe.backbone, device).embed(images)  # (B, h*w, D), (h, w)

The way of a frame:

- `preprocess` resizes it and, where the recipe asks, levels its brightness.
- `tiling` cuts a large frame into overlapping tiles, and joins their patches again.
- `extractor` takes images through the network; `device_pipeline` does so in chunks on a device, each of them one CUDA
  graph (`cuda_graph`).
- `feature_maps` brings what stages give to one layout, and `patches` joins the maps into embeddings (on a GPU
  `patches_cuda`, which starts the kernels of `patch_kernels`).

How a network is made: `weight_files` finds the file of its weights, and fetches or imports nothing that a bank from
elsewhere names; `weights` reads and checks it, `network` builds and traces it up to the last tapped stage, `batch_norm`
folds normalisation into convolutions. `load_backbone` then dispatches by device:

- On a GPU `fusion_cuda` fuses each convolution with its activation and residual sum, by cuDNN. All is in half precision
  unless float32 is asked for.
- On a CPU with OpenVINO installed (`openvino`), a network without convolutions that Winograd's filtering makes cheaper
  runs there, as EfficientNet does: OpenVINO has the quicker depthwise convolutions. A setting overrides this choice.
- On a CPU otherwise the room `cpu` fuses convolutions by oneDNN, replaces 3x3 convolutions of many channels by
  Winograd's filtering, as in ResNets, and lets the frames of a batch that one core gets share the largest weights.
- Where this build of PyTorch has no oneDNN, the folded network runs as it is.
- A backbone that its recipe states in int8 or bfloat16 goes to the room `quantisation`, whatever else would run it.

`fx_graph` has what the passes over a traced network share. The network takes most of an inspection's time, so these
passes are what makes it twice as fast as the peer's (the figure `throughput` of tests/bench/README.md).

This room knows nothing of banks, scores and generations. It imports `numerics`, and of a recipe reads only what the
pixels and the backbone need.
"""
