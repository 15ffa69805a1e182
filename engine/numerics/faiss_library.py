"""FAISS, imported after PyTorch, wherever the engine needs it.

Both bring an OpenMP runtime. Where PyTorch's is loaded first, it serves both. Where FAISS's is, each has threads of its
own, which spin for a while after each operation, so that small operations of the other take 10 times as long.
"""

# isort: off
import torch  # noqa: F401 - its threads serve both
import faiss

# isort: on

__all__ = ["faiss"]
