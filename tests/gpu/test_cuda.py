"""The same programs on a CUDA device; skipped where there is none."""

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_bf16_learns_what_fp32_learns(workplace, straight):
    """First losses agree to the resolution of bf16; the end of the run to a tenth of a nat."""
    workplace.pretrain("precision=bf16")
    ours, theirs = workplace.metric("loss"), straight.metric("loss")
    assert ours[1] == pytest.approx(theirs[1], abs=0.02)
    assert ours[16] == pytest.approx(theirs[16], abs=0.1)
    assert workplace.reads() == straight.reads()


def test_a_gpu_run_taken_up_again_goes_on_with_the_same_losses(workplace, as_it_stood):
    workplace.pretrain("precision=bf16")
    again = as_it_stood(workplace, 8).pretrain("precision=bf16", resume=True)
    assert again.metric("loss") == pytest.approx(workplace.metric("loss"), rel=1e-3)
