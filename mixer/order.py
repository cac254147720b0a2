"""The order in which each source's rows are read: from draws to rows, and from rows back to draws."""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .apportion import Ints
from .generations import SourceHistory
from .shuffle import ROUNDS, key_bytes, permute, unpermute

_LOW = 2**44 - 1


@dataclass(frozen=True, eq=False)
class Order:
    """All generations of all sources as arrays, by source and then by first draw.

    A draw of a generation has an epoch and a *place* in it; the place is permuted, and counted from the generation's
    first row. In a bridge the first ``carries`` permuted places stand for the draws that the generation before had
    still to give, and are looked up there; the others are the new rows.

    >>> from mixer.generations import Generation
    >>> order = Order.of(1, 8, {"web": SourceHistory((Generation(0, 10), Generation(4, 11, first_row=10, carries=6)))})
    >>> _, _, rows, _ = order.read(np.zeros(15, np.int64), np.arange(15))
    >>> sorted(rows.tolist()) == list(range(15)), order.draws(0, rows[[3, 12]], 0, 15).tolist()
    (True, [3, 12])
    """

    seed: int
    sequence_length: int
    names: tuple[str, ...]  # (entries,)
    source: Ints  # (entries,) and so on
    generation: Ints
    first_draw: Ints
    num_rows: Ints
    first_row: Ints
    carries: Ints
    reshuffled: npt.NDArray[np.bool_]  # anew each epoch
    in_order: npt.NDArray[np.bool_]  # not shuffled at all
    moved: npt.NDArray[np.bool_]  # windows cut at another offset in each epoch

    @classmethod
    def of(cls, seed: int, sequence_length: int, sources: Mapping[str, SourceHistory]) -> "Order":
        """The order of sources by name."""
        entries = [
            (name, k, g, generation, source)
            for k, (name, source) in enumerate(sources.items())
            for g, generation in enumerate(source.generations)
        ]
        names, source, generation, states, histories = zip(*entries, strict=True)
        return cls(
            seed=seed,
            sequence_length=sequence_length,
            names=names,
            source=np.array(source, np.int64),
            generation=np.array(generation, np.int64),
            first_draw=np.array([state.first_draw for state in states], np.int64),
            num_rows=np.array([state.num_rows for state in states], np.int64),
            first_row=np.array([state.first_row for state in states], np.int64),
            carries=np.array([state.carries for state in states], np.int64),
            reshuffled=np.array([history.shuffle == "each_epoch" for history in histories]),
            in_order=np.array([history.shuffle == "off" for history in histories]),
            moved=np.array([history.epoch_offset for history in histories]),
        )

    def read(self, source: Ints, draw: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Generation, epoch, row and window offset (in tokens) of draws."""
        entry = self._entries(source, draw)
        epoch, place = self._permuted(entry, draw)
        row = self.first_row[entry] + place - self.carries[entry]
        offset = self._offsets(entry, epoch)
        carried = np.flatnonzero(place < self.carries[entry])
        above, at = entry[carried], place[carried]
        while carried.size:
            draws, above = self.first_draw[above] + at, above - 1
            epochs, at = self._permuted(above, draws)
            row[carried] = self.first_row[above] + at - self.carries[above]
            offset[carried] = self._offsets(above, epochs)
            on = at < self.carries[above]
            carried, above, at = carried[on], above[on], at[on]
        return self.generation[entry], epoch, row, offset

    def draws(self, source: int, rows: Ints, first: int, end: int) -> Ints:
        """Draws of a source in [first, end) that read any of ``rows``, in order: O(rows x epochs)."""
        rows = np.unique(rows)
        entries = np.flatnonzero(self.source == source)
        ends = [*self.first_draw[entries[1:]].tolist(), max(end, int(self.first_draw[entries[-1]]))]
        found = [
            self._draws_in(int(entry), rows, max(first, int(self.first_draw[entry])), min(end, last))
            for entry, last in zip(entries, ends, strict=True)
        ]
        return np.concatenate(found)

    def _draws_in(self, entry: int, rows: Ints, first: int, end: int) -> Ints:
        """The same in one generation, which may be asked on beyond its end, as if it had gone on."""
        begin, num_rows, carries = (int(x[entry]) for x in (self.first_draw, self.num_rows, self.carries))
        if end <= first:
            return np.zeros(0, np.int64)
        images = rows - self.first_row[entry] + carries
        images = images[(images >= carries) & (images < num_rows)]
        if carries:
            before = self._draws_in(entry - 1, rows, begin, begin + carries)
            images = np.concatenate([before - begin, images])
        epochs = np.arange((first - begin) // num_rows, -((begin - end) // num_rows))
        places = self._unpermuted(entry, epochs, images)
        draws: Ints = np.sort((begin + epochs[:, None] * num_rows + places).ravel())
        return draws[(draws >= first) & (draws < end)]

    def _entries(self, source: Ints, draw: Ints) -> Ints:
        """Entry of each draw: the last of its source that begins at or before it."""
        entry = np.searchsorted(self.source, np.arange(self.source[-1] + 1))[source]
        later = np.append(self.first_draw[1:], 0)  # where the entry after begins: at 0 if it is another source's
        ends = np.where(later > 0, later, np.iinfo(np.int64).max)
        while (beyond := draw >= ends[entry]).any():
            entry = entry + beyond
        return entry

    def _permuted(self, entry: Ints, draw: Ints) -> tuple[Ints, Ints]:
        num_rows = self.num_rows[entry]
        epoch, place = np.divmod(draw - self.first_draw[entry], num_rows)
        pairs, which = np.unique(_joined(entry, np.where(self.reshuffled[entry], epoch, 0)), return_inverse=True)
        keys = self._keys((pairs >> 44).tolist(), (pairs & _LOW).tolist())
        image = permute(place, num_rows, keys.T.copy().take(which, axis=1).T)  # a word of all lanes lies together
        return epoch, np.where(self.in_order[entry], place, image)

    def _unpermuted(self, entry: int, epochs: Ints, images: Ints) -> Ints:
        """(epochs, images) Place at which each image is read in each epoch."""
        if self.in_order[entry]:
            return np.broadcast_to(images, (epochs.size, images.size))
        keys = self._keys([entry] * epochs.size, (epochs * self.reshuffled[entry]).tolist())
        images = np.broadcast_to(images, (epochs.size, images.size))
        return unpermute(images, self.num_rows[entry], keys[:, None, :])

    def _keys(self, entries: list[int], epochs: list[int]) -> npt.NDArray[np.uint64]:
        """(pairs, ROUNDS) Round keys of epochs of entries."""
        generations = self.generation.tolist()
        words = [key_bytes(self.seed, self.names[e], generations[e], n) for e, n in zip(entries, epochs, strict=True)]
        return np.frombuffer(b"".join(words), "<u8").reshape(-1, ROUNDS)

    def _offsets(self, entry: Ints, epoch: Ints) -> Ints:
        """By how many tokens windows are moved: 0 in a source's very first epoch and where the switch is off."""
        if not self.moved.any():
            return np.zeros_like(epoch)
        _, first, which = np.unique(_joined(entry, epoch), return_index=True, return_inverse=True)
        pairs = zip(entry[first].tolist(), epoch[first].tolist(), strict=True)
        return np.array([self._offset(e, epoch) for e, epoch in pairs], np.int64)[which]

    def _offset(self, entry: int, epoch: int) -> int:
        generation = int(self.generation[entry])
        if not self.moved[entry] or generation == epoch == 0:
            return 0
        return _keyed_number(self.seed, self.names[entry], generation, epoch) % self.sequence_length


@lru_cache(maxsize=2**14)
def _keyed_number(seed: int, source_name: str, generation: int, epoch: int) -> int:
    """A number below 2^62 that no other seed, source, generation or epoch shares."""
    message = struct.pack("<qqq", seed, generation, epoch) + source_name.encode()
    digest = hashlib.blake2b(message, digest_size=8, person=b"mixer.offset").digest()
    return int.from_bytes(digest, "little") >> 2


def _joined(high: Ints, low: Ints) -> Ints:
    """Two numbers as one that sorts by the first and then the second; the second is below 2^44."""
    return (high << 44) | low
