"""A traced network on a CPU, by oneDNN: what it computes, with less arithmetic and less memory traffic.

    from patchline.engine.features.cpu.frames_together import FramesTogether
    from patchline.engine.features.cpu.fusion import fuse_for_cpu
    network = FramesTogether(fuse_for_cpu(graph))  # (1, 3, H, W) to a map for each stage
    several = network.of_frames([x, y, z, w])  # bit for bit what each gives alone

- `fusion` joins convolutions with what follows them, and packs their weights once.
- `winograd` computes 3x3 convolutions of many channels with a quarter of the multiplications.
- `frames_together` takes several frames through the layers whose weights outgrow a core's cache, so that the weights
  are read once for all of them.

What they buy on two cores of a Sapphire Rapids stands under "Backbone" in tests/bench/README.md.

This room knows nothing of images, recipes and patches. It imports `numerics` and the questions to a graph (`fx_graph`).
"""
