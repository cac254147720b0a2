import doctest
import importlib
import pkgutil

import pytest

import mixer


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(mixer.__path__)])
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"mixer.{name}")).failed == 0
