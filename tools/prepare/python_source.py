"""What one Python module gives, read with `ast` and never imported: code, prose and conversations.

    module shapes                code            def area(r):
                                                     return 3 * r * r
    def area(r):                 conversation    user: What does `area(r)` from `shapes` do?
        \"""Return the area.\"""                  assistant: Return the area.
        return 3 * r * r         prose           docstrings of the module and of its classes

A function whose docstring holds doctest examples adds a second question and them as the answer.
No docstring is left in the code, and no docstring goes to two places.
"""

import ast
import doctest
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

REPLY_CHARS = 1200
SIGNATURE_CHARS = 200
QUESTIONS = (
    "What does `{call}` from `{module}` do?",
    "Explain `{call}` of `{module}` to me.",
    "I found `{call}` in `{module}`. What is it for?",
    "In Python's `{module}`, what is the purpose of `{call}`?",
)
FOLLOW_UPS = (
    "Show me an example.",
    "How is it used?",
    "Can you give me an example?",
    "What does that look like in use?",
)
# Where an explanation ends: the first example, or the first heading underlined in the numpydoc manner.
EXPLANATION_END = re.compile(r"^[ \t]*(?:>>> |\S[^\n]*\n[ \t]*[-=~]{3,}[ \t]*$)", re.MULTILINE)
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Message = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ModuleText:
    """What one module gives; each piece of prose is a name and its docstring."""

    code: str
    prose: list[tuple[str, str]]
    conversations: list[list[Message]]


def read_modules(files: Sequence[tuple[str, Path]]) -> list[ModuleText]:
    """Read modules given by name and path; one that is no Python of this version gives nothing."""
    return [read_module(name, _source(path)) for name, path in files]


def read_module(name: str, source: str) -> ModuleText:
    """Take a module apart.

    >>> read_module("m", 'x = 1\\nclass A:\\n    "Doc."\\n').prose
    [('m.A', 'Doc.')]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ModuleText(code="", prose=[], conversations=[])
    definitions = list(_definitions(tree, name))
    prose = [(name, ast.get_docstring(tree) or "")]
    prose += [(path, ast.get_docstring(node) or "") for path, node in definitions if isinstance(node, ast.ClassDef)]
    functions = [(path, node) for path, node in definitions if not isinstance(node, ast.ClassDef)]
    return ModuleText(
        code=cut_docstrings(source, tree),
        prose=[(path, text) for path, text in prose if text],
        conversations=[turns for path, node in functions if (turns := _conversation(path, node))],
    )


def cut_docstrings(source: str, tree: ast.Module) -> str:
    """Return the source without docstrings; `pass` stands where a body would be empty or shares its line.

    >>> source = 'def f():\\n    "Doc."\\n\\n    return 1\\n'
    >>> cut_docstrings(source, ast.parse(source))
    'def f():\\n    return 1\\n'
    """
    # Lines as bytes, because ast counts columns in UTF-8. From the last docstring up, so that numbers stay valid.
    lines = source.encode().split(b"\n")
    for node, needed in sorted(_docstrings(tree), key=lambda found: -found[0].lineno):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        if needed or before.strip() or after.strip():
            lines[first : last + 1] = [before + b"pass" + after]
            continue
        while last + 1 < len(lines) and not lines[last + 1].strip():
            last += 1
        del lines[first : last + 1]
    return b"\n".join(lines).decode()


def _docstrings(tree: ast.Module) -> Iterator[tuple[ast.Expr, bool]]:
    # Several strings in a row: with the first cut, the second would become the docstring. The flag says that the body
    # holds nothing else.
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | Definition):
            continue
        strings = []
        for statement in node.body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                break
            if not isinstance(statement.value.value, str):
                break
            strings.append(statement)
        alone = len(strings) == len(node.body) and not isinstance(node, ast.Module)
        yield from ((string, alone and string is strings[-1]) for string in strings)


def _definitions(node: ast.AST, name: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield f"{name}.{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _definitions(child, name)


def _conversation(path: str, node: Definition) -> list[Message]:
    docstring = ast.get_docstring(node) or ""
    explanation = _explanation(docstring)
    if node.name.startswith("_") or not explanation or isinstance(node, ast.ClassDef):
        return []
    # The wording hangs on the name alone, so that it stays when other functions come and go.
    choice = blake2b(path.encode(), digest_size=1).digest()[0]
    question = QUESTIONS[choice % 4].format(call=_call(node), module=path.rpartition(".")[0])
    turns = [_message("user", question), _message("assistant", explanation)]
    if examples := _examples(docstring):
        turns += [_message("user", FOLLOW_UPS[choice // 4 % 4]), _message("assistant", examples)]
    return turns


def _call(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = ast.unparse(node.args)
    return f"{node.name}({arguments if len(arguments) <= SIGNATURE_CHARS else '...'})"


def _explanation(docstring: str) -> str:
    return _first_whole(EXPLANATION_END.split(docstring, maxsplit=1)[0].strip().split("\n\n"), between="\n\n")


def _examples(docstring: str) -> str:
    try:
        examples = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        return ""
    return _first_whole([_shown(example) for example in examples], between="\n")


def _shown(example: doctest.Example) -> str:
    return (
        ">>> " + example.source.rstrip("\n").replace("\n", "\n... ") + "\n" * bool(example.want) + example.want.rstrip()
    )


def _first_whole(parts: Sequence[str], *, between: str) -> str:
    text = ""
    for part in parts:
        longer = f"{text}{between}{part}" if text else part
        if len(longer) > REPLY_CHARS:
            break
        text = longer
    return text


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _source(path: Path) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""
