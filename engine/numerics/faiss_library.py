"""FAISS, imported after PyTorch, wherever the engine needs it.

Both bring an OpenMP runtime. Where PyTorch's comes first it serves both; where FAISS's does, each has threads of its
own, which spin for a while after each operation, and small operations of the other then take 10 times as long.
"""

# isort: off
import torch  # noqa: F401 - its threads serve both
import faiss

# isort: on

__all__ = ["faiss"]
