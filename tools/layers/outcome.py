"""What came of a token: its loss and the certainty of the prediction, from logits that may be cut over processes."""

import torch

from ..runtime.place import Place

_TOKENS_AT_ONCE = 2048
_NO_CHANCE = -1e4  # far below the largest logit; keeps 0 x -inf out of the entropy


def loss_and_entropy(logits: torch.Tensor, labels: torch.Tensor, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, seq, vocabulary), labels (batch, seq) -> loss and entropy in nats, fp32 (batch, seq).

    >>> loss, entropy = loss_and_entropy(torch.zeros(1, 1, 4), torch.tensor([[2]]), Place())
    >>> round(loss.item(), 4), round(entropy.item(), 4)
    (1.3863, 1.3863)
    """
    rows, targets = torch.split(logits.flatten(0, 1), _TOKENS_AT_ONCE), torch.split(labels.flatten(), _TOKENS_AT_ONCE)
    parts = [_of_rows(row, target, place) for row, target in zip(rows, targets, strict=True)]
    loss, entropy = (torch.cat(part).view(labels.shape) for part in zip(*parts, strict=True))
    return loss, entropy


def _of_rows(logits: torch.Tensor, labels: torch.Tensor, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.float()
    largest = place.largest_over_vocabulary(logits.amax(-1))
    logits = (logits - largest[:, None]).clamp(min=_NO_CHANCE)
    odds = logits.exp()
    own = labels - place.vocabulary_start
    here = (own >= 0) & (own < logits.shape[1])
    target = logits.gather(1, own.clamp(0, logits.shape[1] - 1)[:, None])[:, 0] * here
    sums = place.sum_over_vocabulary(torch.stack([odds.sum(-1), (odds * logits).sum(-1), target]))
    partition = sums[0].log()
    return (partition - sums[2]).clamp(min=0), (partition - sums[1] / sums[0]).clamp(min=0)
