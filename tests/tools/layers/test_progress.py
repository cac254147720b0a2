"""The bar of windows: as many are read as it expects, and only a terminal sees it."""

import io

import pytest
from rich.console import Console

from tools.layers.command import run
from tools.layers.opening import Options
from tools.layers.progress import WindowsBar, windows_bar


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("models") / "llama"
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_every_pass_is_expected_and_read(llama, world, tmp_path, monkeypatch):
    expected, read = [], []
    monkeypatch.setattr(WindowsBar, "begin", lambda bar, model, windows: expected.append((model, windows)))
    monkeypatch.setattr(WindowsBar, "read", lambda bar, windows: read.append(windows))
    options = Options(
        data=[str(world / "web"), str(world / "code")], out=tmp_path / "report", windows=9, sequence_length=32,
        ablate=("layer", "mlp"), ablate_spans=("1:2",),
    )  # fmt: skip
    run([llama], options)
    assert expected == [("llama", 2 * 9 * (1 + 2 * (1 + 3) + (1 + 1)))]
    assert sum(read) == expected[0][1]


def drawn(monkeypatch, *, terminal: bool, rank: str) -> str:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    with windows_bar(Console(file=file, force_terminal=terminal, width=100)) as bar:
        bar.begin("llama", 10)
        bar.read(4)
    return file.getvalue()


def test_only_the_first_process_on_a_terminal_draws(monkeypatch):
    assert "llama" in drawn(monkeypatch, terminal=True, rank="0")
    assert "4/10" in drawn(monkeypatch, terminal=True, rank="0")
    assert drawn(monkeypatch, terminal=True, rank="1") == drawn(monkeypatch, terminal=False, rank="0") == ""
