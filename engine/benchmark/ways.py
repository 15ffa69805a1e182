"""Which way was taken at each stage of an inspection, in words: what a time was measured with."""

from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.openvino import OpenVinoNetwork
from patchline.engine.search.index import NearestNeighbours


def search_way(index: NearestNeighbours) -> str:
    """The class of the index, and in brackets what it says of itself, as how its codes are multiplied, if anything."""
    name, way = type(index).__name__, getattr(index, "way", None)
    return name if way is None else f"{name} ({way})"


def backbone_way(extractor: FeatureExtractor) -> str:
    """What runs the network, and on which device: `openvino` or `torch`."""
    runtime = "openvino" if isinstance(extractor._network, OpenVinoNetwork) else "torch"
    return f"{runtime}, {extractor.dtype} on {extractor.device}".replace("torch.", "")
