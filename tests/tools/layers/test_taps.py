"""What the hooks keep of a layer, at half precision."""

import torch

from tools.layers.measures import dots
from tools.layers.taps import Recorder


def test_a_layer_of_bf16_is_met_in_fp32():
    """An update rounded to bf16, as y - x in bf16 would be, is off by up to one part in 256."""
    generator = torch.Generator().manual_seed(0)
    x, middle, y = (torch.randn(2, 8, 64, generator=generator).bfloat16() for _ in range(3))
    recorder = Recorder(sequence_first=False)
    recorder.enter(0, x, first=True)
    recorder.middle(0, middle)
    recorder.leave(0, y, last=True)
    (record,) = recorder.take()
    wide = [each.float() for each in (x, middle, y)]
    expected = [dots(begin, end - begin) for begin, end in ((wide[0], wide[2]), wide[:2], wide[1:])]
    assert torch.equal(record.stacked[:, :, 0], torch.stack(expected, 2))
    assert torch.equal(record.peaks[0], wide[0].square().amax(-1))
