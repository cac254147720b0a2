"""Arithmetic of one token, for model FLOP utilisation.

Per token, forward and backward, causal attention counted by half (as Megatron-LM counts):
``3 (L (4 h^2 p (1 + g/n) + 2 s h p + 2 m h f) + 2 h V)`` with p = kv_channels n / h and m = 3 matrices for a gated MLP,
2 for a plain one.
"""

from ..recipe.schema import Model

# Dense bf16 peaks in FLOP/s, by what stands in the device's name.
_PEAKS = {"A100": 312e12, "A800": 312e12, "H100": 989e12, "H200": 989e12, "H800": 989e12, "B200": 2250e12}


def flops_per_token(model: Model, sequence_length: int, vocab_size: int) -> float:
    """FLOPs of one token's forward and backward pass.

    >>> shape = dict(num_layers=32, hidden_size=4096, num_attention_heads=32, num_query_groups=8, ffn_hidden_size=14336)
    >>> f"{flops_per_token(Model(**shape), 8192, 128256):.4g}"
    '5.147e+10'
    """
    hidden, heads = model.hidden_size, model.num_attention_heads
    width = (model.kv_channels or hidden // heads) * heads / hidden
    groups = (model.num_query_groups or heads) / heads
    attention = 4 * hidden**2 * width * (1 + groups) + 2 * sequence_length * hidden * width
    mlp = 2 * (3 if model.gated_linear_unit else 2) * hidden * (model.ffn_hidden_size or 4 * hidden)
    return 3 * (model.num_layers * (attention + mlp) + 2 * hidden * vocab_size)


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 peak of a known accelerator, or None.

    >>> peak_flops("NVIDIA H100 80GB HBM3")
    989000000000000.0
    """
    return next((peak for name, peak in _PEAKS.items() if name in device_name), None)
