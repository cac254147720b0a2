"""Memory that the C library would give back to the system between two passes over a model."""

import torch

_LARGEST_THRESHOLD = 32 * 2**20  # glibc's DEFAULT_MMAP_THRESHOLD_MAX, bytes
_HEADER = 2**16  # room for what malloc puts before a block, and rounds it up by; must not pass the threshold


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of up to 32 MiB; for a command that reads much on the CPU and then ends.

    A pass asks for the same memory as the one before it. Where that was given back, each 4 KiB of it costs a page fault
    when it is written again: up to 108,000 of them in a pass over 32 layers of width 256, which can take half as long
    again then. glibc gives back blocks of more than a threshold, which grows to the largest of them that was freed, so
    freeing one is enough. Nothing is written to it, so it takes no memory. Other C libraries see a block come and go,
    and a GPU's memory is torch's own.
    """
    torch.empty(_LARGEST_THRESHOLD - _HEADER, dtype=torch.uint8)
