"""An ordered map over several processes: the answers, and so the files, are the same for any number of workers.

    with closing(ordered_map(encode, chunks, workers=4)) as results: ...

Chunks are taken only as fast as answers are: at most four per worker are in flight, whatever the size of the input.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from ..errors import UserError

CHUNKS_PER_WORKER = 4
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Item], Answer], items: Iterable[Item], *, workers: int) -> Generator[Answer]:
    """Yield `function(item)` in the order of `items`; one worker means this process. UserError if a worker dies.

    >>> list(ordered_map(abs, [-2, 1], workers=1))
    [2, 1]
    """
    if workers < 1:
        raise UserError("--workers", got=str(workers), expected="1 or more")
    if workers == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield from _in_order(pool, function, items, limit=CHUNKS_PER_WORKER * workers)
    except BrokenProcessPool as error:
        fix = "it may have run out of memory: try fewer --workers"
        raise UserError("--workers", got="a worker process that died", expected="all alive", fix=fix) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[Item], Answer], items: Iterable[Item], *, limit: int
) -> Generator[Answer]:
    waiting: deque[Future[Answer]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start_worker() -> None:
    # Ctrl-C is the parent's to handle; and one thread each, or every worker would encode on all cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
