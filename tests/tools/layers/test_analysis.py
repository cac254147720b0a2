"""The example of docs/layers.md, run as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "layers.md"


def test_the_example_in_python_runs(world, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "models" / "llama")
    (tmp_path / "data").mkdir()
    for suffix in ("bin", "idx"):
        shutil.copy(world / f"web.{suffix}", tmp_path / "data")
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = r"%d: 0\.\d{4} \(0\.\d{4} to 0\.\d{4}\), rank \(\d, \d\)"
    assert re.fullmatch("\n".join(line % layer for layer in range(3)), done.stdout.strip())
