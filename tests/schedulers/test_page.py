"""The examples of docs/schedules.md, run as one session."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"


def test_the_examples_of_the_page_are_true():
    session = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    examples = doctest.DocTestParser().get_doctest(session, {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 30
    runner = doctest.DocTestRunner()
    runner.run(examples)
    assert runner.summarize().failed == 0
