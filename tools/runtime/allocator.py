"""Memory of this process that the C library would give back to the system between two passes over a model."""

import ctypes

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_BYTES = 2**30


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, in pieces of up to 1 GiB; for a command that reads much and then ends.

    A pass on the CPU asks for the same memory as the one before it. Given back in between, each 4 KiB of it costs a
    page fault when it is written again: up to 65,000 of them in a pass over 32 layers of width 256. Does nothing with a
    GPU, or where the C library has no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not torch.cuda.is_available():
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)
