"""Products use the threads that pay, and leave the thread as it was."""

import numpy as np
import pytest
import torch

from engine import products
from engine.products import product


def test_a_small_product_is_made_by_one_thread(monkeypatch):
    """A large one by all; afterwards, also after an error, the thread computes with as many as before."""
    used = []

    def mm(a, b):
        used.append(torch.get_num_threads())
        return a @ b

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(products.torch, "mm", mm)
            small = np.arange(6.0).reshape(2, 3)
            assert np.array_equal(product(small, small.T), small @ small.T)
            product(np.zeros((2**9, 2**9)), np.zeros((2**9, 2**8)))
            with pytest.raises(RuntimeError):
                product(small, small)
        assert used == [1, 2, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
