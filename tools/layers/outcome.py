"""What came of a token: its loss and the certainty of the prediction, from logits that may be cut over processes."""

import torch

from ..runtime.place import Place

_LOGITS_AT_ONCE_ON_CPU = 2**19  # stay in the cache
_LOGITS_AT_ONCE = 2**27  # keep a GPU busy
_NO_CHANCE = -1e4  # far below the largest logit; keeps 0 x -inf out of the entropy


def loss_and_entropy(logits: torch.Tensor, labels: torch.Tensor, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, seq, vocabulary), labels (batch, seq) -> loss and entropy in nats, fp32 (batch, seq).

    >>> loss, entropy = loss_and_entropy(torch.zeros(1, 1, 4), torch.tensor([[2]]), Place())
    >>> round(loss.item(), 4), round(entropy.item(), 4)
    (1.3863, 1.3863)
    """
    most = _LOGITS_AT_ONCE_ON_CPU if logits.device.type == "cpu" else _LOGITS_AT_ONCE
    at_once = max(1, most // logits.shape[-1])  # tokens
    rows, targets = torch.split(logits.flatten(0, 1), at_once), torch.split(labels.flatten(), at_once)
    parts = [_of_rows(row, target, place) for row, target in zip(rows, targets, strict=True)]
    loss, entropy = (torch.cat(part).view(labels.shape) for part in zip(*parts, strict=True))
    return loss, entropy


def _of_rows(logits: torch.Tensor, labels: torch.Tensor, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.float()
    largest = place.largest_over_vocabulary(logits.amax(-1))
    logits = (logits - largest[:, None]).clamp_(min=_NO_CHANCE)
    odds = logits.exp()
    own = labels - place.vocabulary_start
    here = (own >= 0) & (own < logits.shape[1])
    target = logits.gather(1, own.clamp(0, logits.shape[1] - 1)[:, None])[:, 0] * here
    sums = place.sum_over_vocabulary(torch.stack([odds.sum(-1), odds.mul_(logits).sum(-1), target]))
    partition = sums[0].log()
    return (partition - sums[2]).clamp(min=0), (partition - sums[1] / sums[0]).clamp(min=0)
