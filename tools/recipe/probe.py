"""The text of ``layers.probe``, tried before a run begins: a run that can't measure its layers isn't begun."""

from mixer.errors import DataError

from ..errors import UserError
from ..layers.probe import Probe, open_probe
from .data import window_options
from .from_run import real_prefix
from .schema import Recipe
from .vocabulary import check_tokenizer


def check_probe(recipe: Recipe, vocab_size: int, tokenizer_digest: str | None, where: str) -> None:
    """Raise UserError where layers are to be measured and a source of the probe is missing, damaged, shorter than a
    window, of another tokenizer, or named as another one is.
    """
    names: list[str] = []
    for index, text in enumerate(recipe.layers.probe if recipe.layers.every else ()):
        place = f"{where}: layers.probe[{index}]"
        probe = _opened(text, recipe, place)
        if tokenizer_digest:
            check_tokenizer(place, text.rpartition("=")[2], tokenizer_digest)
        for batch in probe.batches(recipe.micro_batch_size):
            probe.check_vocabulary(batch, vocab_size, place)
        if probe.names[0] in names:
            raise UserError(place, got=f"{probe.names[0]} twice", expected="NAME=PATH with a name for each")
        names += probe.names


def _opened(text: str, recipe: Recipe, place: str) -> Probe:
    """One source as the run will read it; which tokens attend to which makes no difference here."""
    specs = recipe.sources.values()
    rows = {real_prefix(path): window_options(spec) for spec in specs for path in spec.path or ()}
    try:
        return open_probe([text], sequence_length=recipe.sequence_length, windows=recipe.layers.windows, rows=rows)
    except DataError as error:
        raise UserError(place, fix=str(error)) from None
