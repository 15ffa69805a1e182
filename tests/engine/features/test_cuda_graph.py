"""Operations recorded once, and started together."""

import pytest
import torch

from patchline.engine.features.cuda_graph import record

no_gpu = not torch.cuda.is_available()


@pytest.mark.skipif(not no_gpu, reason="a CUDA GPU is at hand")
def test_what_no_graph_can_be_made_of_runs_all_the_same() -> None:
    """Where nothing can be recorded a warning says so, and each launch computes from what the input holds then."""
    held = torch.zeros(3)
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph of \(3,\)"):
        launch = record(lambda x: x + 1, held)
    held += 5
    assert launch().tolist() == [6, 6, 6]


@pytest.mark.skipif(no_gpu, reason="no CUDA GPU is at hand")
def test_a_graph_computes_from_what_its_input_holds() -> None:
    """Each launch gives what the operations give, for the input as it is then."""
    held = torch.zeros(3, device="cuda")
    launch = record(lambda x: (x + 1).square(), held)
    for value in (0.0, 2.0, 3.0):
        held.fill_(value)
        assert launch().tolist() == [(value + 1) ** 2] * 3
