"""A key of `stored` names all code and every setting behind its result: read from the notebooks.

A key that leaves something out would answer with a stale result, and nobody would notice.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from notebook_code import code_cells

NOTEBOOKS = ["08_layers_and_pytorch", "09_scikit_learn_twin", "10_vgg16_transfer",
             "11_cifar10_features"]

# Not in a key, for a reason.
EXEMPT = {
    "10_vgg16_transfer": {
        "features": "asks `through` for images that the key holds",
    },
    "11_cifar10_features": {
        "features_of": "asks `encode` for pictures that the key holds, or names by their places",
        "encode_all": "shares the work out and changes no number",
        "images_a": "named by their places and labels, so that a copy of them is served, too",
        "centre": "measured on the network's half",
        "spread": "measured on the network's half",
    },
}


class Definitions(NamedTuple):
    """What a notebook defines on its outermost level."""

    code: dict[str, ast.AST]  # functions and classes
    values: dict[str, list[ast.expr]]  # variables: everything that is assigned to them


def outermost(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run in the notebook's own scope, those in an ``if`` or a loop included."""
    for statement in statements:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                yield from outermost(getattr(statement, block, []))


def definitions(tree: ast.Module) -> Definitions:
    found = Definitions({}, {})
    for statement in outermost(tree.body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found.code[statement.name] = statement
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AugAssign):
            targets = [statement.target]
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    found.values.setdefault(name.id, []).append(statement.value)
    return found


def names_in(node: ast.AST) -> set[str]:
    """Names that a piece of code takes from the notebook's own scope."""
    outer = symtable.symtable(ast.unparse(node), "notebook", "exec")
    names = {symbol.get_name() for symbol in outer.get_symbols() if symbol.is_referenced()}
    inner = outer.get_children()
    while inner:
        table = inner.pop()
        inner += table.get_children()
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names


def reached(start: ast.AST, defined: Definitions, exempt: set[str]) -> set[str]:
    """Names that an expression uses, and the functions that it calls, and those that they call."""
    seen: set[str] = set()
    waiting = names_in(start)
    while waiting:
        name = waiting.pop()
        if name in seen or name in exempt:
            continue
        seen.add(name)
        if name in defined.code:
            waiting |= names_in(defined.code[name])
    return seen & (set(defined.code) | set(defined.values))


def behind(expressions: list[ast.expr], defined: Definitions) -> set[str]:
    """Names in a key, and those from which the variables among them are made."""
    seen: set[str] = set()
    waiting = set().union(*map(names_in, expressions))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting |= set().union(*map(names_in, defined.values.get(name, [])))
    return seen


def code_in(expressions: list[ast.expr], defined: Definitions) -> set[str]:
    """Functions and classes that a key holds themselves, not what they return."""
    seen: set[str] = set()
    waiting = list(expressions)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            # Of what is called only a lambda's result is known: {"one": lambda: …}[which]().
            waiting += [node.func] if isinstance(node.func, ast.Subscript) else []
        elif isinstance(node, ast.Lambda):
            waiting.append(node.body)
        elif isinstance(node, ast.Name) and node.id in defined.code:
            seen.add(node.id)
        elif isinstance(node, ast.Name):
            waiting += [value for value in defined.values.get(node.id, [])
                        if node.id.isupper() or isinstance(value, ast.Tuple)]
        elif isinstance(node, ast.Attribute):  # Encoder.forward: a class by its methods
            waiting.append(node.value)
        else:
            waiting += [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
    return seen


def left_out(source: str, exempt: set[str]) -> dict[str, set[str]]:
    """For each call of `stored`: functions, classes and settings behind it that its key lacks."""
    tree = ast.parse(source)
    defined, missing = definitions(tree), {}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "stored"):
            continue
        name, make, *key = call.args
        if not isinstance(name, ast.Constant | ast.JoinedStr) or ast.unparse(name) == "'trial'":
            continue
        used, in_key = reached(make, defined, exempt), behind(key, defined)
        code = {name for name in used if name in defined.code} - code_in(key, defined)
        settings = {name for name in used - in_key if name in defined.values and not all(
            names_in(value) & set(defined.values) and
            names_in(value) & (set(defined.values) | set(defined.code)) <= in_key
            for value in defined.values[name])}
        missing[ast.unparse(name).strip("'")] = code | settings
    return missing


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_keys_name_everything_behind_a_result(notebook: str) -> None:
    source = "\n".join(cell.source for cell in code_cells(notebook)[1:])
    missing = left_out(source, set(EXEMPT.get(notebook, {})))
    assert missing, "no call of stored was found"
    assert not {name: names for name, names in missing.items() if names}


EXAMPLE = """
RATE, BLOCKS = 0.1, 3
ENDS = [b + 1 for b in range(BLOCKS)]
LIBRARY = (step, BLOCKS)

def step(w):
    return w - RATE * ENDS[0]

def make():
    return {"w": step(images)}

images = load()
result = stored("w", make, KEY)
"""


@pytest.mark.parametrize(("key", "missing"), [
    ("images, RATE, LIBRARY, make", set()),
    ("images, LIBRARY, make", {"RATE"}),
    ("images, RATE, BLOCKS, make", {"step"}),
    ("images, RATE, LIBRARY", {"make"}),
    ("RATE, LIBRARY, make", {"images"}),
    ("images, RATE, make, step", {"ENDS"}),
    ("images, RATE, BLOCKS, make, step(0)", {"step"}),
])
def test_what_a_key_lacks_is_found(key: str, missing: set[str]) -> None:
    assert left_out(EXAMPLE.replace("KEY", key), set()) == {"w": missing}
