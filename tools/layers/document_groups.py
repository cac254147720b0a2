"""Groups that a probe's documents are counted in and that the bootstrap draws: each holds documents of one source.

With few enough documents each has a group of its own. With more a group holds several of its source by chance, which
leaves its sums as independent as documents are.
"""

from collections.abc import Sequence

GROUPS = 256
GROUPS_OF_A_SOURCE = 16  # at least, where it has as many documents


def num_groups(sources: int) -> int:
    """Groups that sums are kept of.

    >>> num_groups(2), num_groups(40)
    (256, 640)
    """
    return max(GROUPS, GROUPS_OF_A_SOURCE * sources)


def shared_out(documents: Sequence[int], groups: int) -> list[int]:
    """How many groups each source gets: one a document, or an equal part of what those with fewer documents leave.

    >>> shared_out([3, 500, 1000], 256), shared_out([3, 50], 256)
    ([3, 126, 127], [3, 50])
    """
    parts = [0] * len(documents)
    for done, source in enumerate(sorted(range(len(documents)), key=documents.__getitem__)):
        parts[source] = min(documents[source], groups // (len(documents) - done))
        groups -= parts[source]
    return parts
