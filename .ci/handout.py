"""The hand-out of a graded course: the learner's notebooks, and no solution in any form.

`make handout` writes dist/backprop-workbook-handout.zip with

- the learner's notebooks 01 to 03 and the exercises of 05,
- helpers.py with data, pictures and records, and nothing of what readers write,
- checks.py, whose right and wrong answers are arrays in answers.npz: what our function and each
  known mistake return for a few drawn cases. Where an exercise draws at random, the code that looks
  at what was drawn comes along; it holds no answer.

Nothing is lent: a cell that needs a function that isn't written says so in one line. Notebooks from
04 on are handed out after the deadline, with the full helpers.py.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import hashlib
import inspect
import io
import json
import posixpath
import re
import subprocess
import symtable
import sys
import tomllib
import types
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from pprint import pformat
from typing import Any

import nbformat
import numpy as np

import learn
from learn import TWIN, Twin, kinds_of, number_of, tags_of
from notebook_rules import BADGE, ROOT

NAME = "backprop-workbook-handout"
WHOLE = ("01", "02", "03")  # numbers of the notebooks that are handed out whole
EXERCISES_OF = ("05",)  # those of which the exercises alone are
SEEDS = (0, 1, 2)  # for which cases and answers are stored; a reader's checks use the first

REGION = ("Activation", "train_config")  # the first and the last statement of what readers write

# Of the region: settings, their check, and the door to the record; nothing that computes.
KEPT = {"Diverged", "_divergence", "_CONFIG_DEFAULTS", "check_config", "train_config"}
# Outside of the region: answers, and what needs a network.
LEFT_OUT = {
    "softmax", "numeric_gradient", "gradient_check", "NetworkClassifier", "run_sweep", "SWEEP_PLAN",
    "numerics_digest", "numerics_id", "evaluate",
}  # fmt: skip

HELPERS_DOCSTRING = '''\
"""What the hand-out's notebooks share: data, pictures and records.

A network, its gradients, its training and the update rules are yours to write. The full module
comes after the deadline; until then a training is read from the record, where the record has it.
"""'''

STAND_INS = '''\
class NotHandedOut(Exception):
    """Something that comes after the deadline; one line in place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class _Later:
    """Stands where the full module has something that isn't handed out; complains when used."""

    def __init__(self, name: str) -> None:
        vars(self)["_name"] = name

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotHandedOut(f"helpers.{vars(self)['_name']} comes with the full workbook, after the "
                           "deadline: this cell can be left out.")

    __call__ = __getitem__ = __setitem__ = __iter__ = __len__ = __contains__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what tools ask of any object
            raise AttributeError(name)
        return self._refuse()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'helpers' has no attribute {name!r}")
    return _Later(name)


def _train_anew(*_: Any, **__: Any) -> Any:
    raise NotHandedOut("This training is not in the record; the full workbook, which comes after "
                       "the deadline, trains it: this cell can be left out.")


Network = _Later("Network")
_BUILT_IN = {registries}


def _registries() -> dict[str, dict]:
    return _BUILT_IN


def numerics_id() -> str:
    """Name of the numerics that the record was trained with."""
    return {numerics}


def numerics_digest() -> str:
    """Digest of the code that trained the record; it isn't handed out."""
    return {digest}'''


# ── helpers.py ────────────────────────────────────────────────────────────────────────────────────


def names_bound(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {n.id for t in targets if t for n in ast.walk(t) if isinstance(n, ast.Name)}


def names_used(node: ast.stmt) -> set[str]:
    """The names of the module that a statement refers to; a parameter `train` is none."""

    def of_table(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        found = {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (top or symbol.is_global())
        }
        return found.union(*map(of_table, table.get_children()))

    source = f"from __future__ import annotations\n{ast.unparse(node)}"
    return of_table(symtable.symtable(source, "helpers.py", "exec"))


def source_of(node: ast.stmt, lines: list[str]) -> str:
    """A statement as it is written, with the comments directly above it."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#") and "──" not in lines[first - 2]:
        first -= 1
    return "\n".join(lines[first - 1 : node.end_lineno])


def registry_names(tree: ast.Module) -> dict[str, dict[str, None]]:
    """What may be chosen in a configuration, by kind: names alone."""
    assigned = {name: node for node in tree.body for name in names_bound(node)}
    found = {}
    for kind, registry in ast.literal_eval(
        ast.unparse(_RegistriesByName().visit(assigned["_registries"].body[-1].value))
    ).items():
        keys = assigned[registry].value.keys
        found[kind] = dict.fromkeys(ast.literal_eval(key) for key in keys)
    return found


class _RegistriesByName(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(node.id)


def handout_helpers(source: str, numerics: str = "", digest: str = "",
                    answers: frozenset[str] = frozenset()) -> str:
    """helpers.py without what readers write, and without everything that needs it.

    numerics, digest : under which the record was trained
    answers : names of exercises: what is called so is left out too
    """
    tree, lines = ast.parse(source), source.splitlines()
    body = tree.body[1:] if ast.get_docstring(tree) is not None else list(tree.body)
    bound = [names_bound(node) for node in body]
    places = [i for i, names in enumerate(bound) if names & set(REGION)]
    if len(places) != 2:
        raise ValueError(f"helpers.py must define {' and '.join(REGION)}, once each")
    region = range(places[0], places[1] + 1)
    stand_ins = STAND_INS
    for mark, value in (("registries", registry_names(tree)), ("numerics", numerics),
                        ("digest", digest)):
        text = repr(value) if isinstance(value, str) else pformat(value, width=88)
        stand_ins = stand_ins.replace("{" + mark + "}", text)
    standing_in = set().union(*map(names_bound, ast.parse(stand_ins).body))
    left_out = LEFT_OUT | answers | standing_in
    kept = {
        i: names_used(node)
        for i, node in enumerate(body)
        if (i not in region or bound[i] & KEPT) and not bound[i] & left_out
    }
    everything = set().union(*bound)
    while True:  # until nothing refers to what is gone
        there = standing_in.union(*(bound[i] for i in kept))
        missing = [i for i, used in kept.items() if used & everything - there]
        if not missing:
            break
        for i in missing:
            del kept[i]
    # What only the parts that are gone needed goes too: a helper of an answer is half of it.
    wanted = {i for i in kept if any(not name.startswith("_") for name in bound[i])}
    wanted |= {i for i in kept if not bound[i]}
    stand_in_uses = set().union(*map(names_used, ast.parse(stand_ins).body))
    while True:
        used = stand_in_uses.union(*(kept[i] for i in wanted))
        more = {i for i in kept if bound[i] & used} - wanted
        if not more:
            break
        wanted |= more
    # Annotations are no reference, but their imports are there for whoever reads them.
    used |= {n.id for i in wanted for n in ast.walk(body[i]) if isinstance(n, ast.Name)}
    parts, placed = [], False
    imports = ast.Import | ast.ImportFrom
    for i in sorted(wanted):
        node = body[i]
        if isinstance(node, imports):
            if getattr(node, "module", "") != "__future__" and not bound[i] & used:
                continue
            node.names = [a for a in node.names if (a.asname or a.name.split(".")[0]) in used
                          or getattr(node, "module", "") == "__future__"]
            parts.append(wrapped_import(node))
            continue
        if not placed and i > region.start:
            parts.append(stand_ins)
            placed = True
        parts.append(source_of(node, lines))
    text = "\n\n\n".join([HELPERS_DOCSTRING, *parts])
    text = joined_simple_lines(text)
    ast.parse(text)
    return text + "\n"


def wrapped_import(node: ast.Import | ast.ImportFrom) -> str:
    text = ast.unparse(node)
    if len(text) <= 100:
        return text
    head, names = text.split(" import ")
    return f"{head} import (\n    " + ",\n    ".join(names.split(", ")) + ",\n)"


def joined_simple_lines(text: str) -> str:
    """No empty lines between imports or between one-line assignments."""
    tree, lines = ast.parse(text), text.splitlines()
    result, before = [], None
    for node in tree.body:
        simple = isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)
        both = before is not None and simple and type(node) is type(before)
        result.append(("\n" if both else "\n\n\n") + source_of(node, lines))
        before = node
    return "".join(result).strip("\n")


# ── Stored answers ────────────────────────────────────────────────────────────────────────────────
# What our functions and the known mistakes return is recorded call by call. A call's key is made
# from the mistakes that are switched on and from the arguments; where a rule keeps something in
# `state`, from all calls with that state so far. This part is written into the hand-out too.

STORED = '''\
_SO_FAR = "calls so far"  # the entry of `state` that tells a rule's steps apart


def _bytes_of(value: Any) -> bytes:
    """What tells arguments apart, whatever type their numbers have; functions don't count."""
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(map(_bytes_of, value)) + b"]"
    if isinstance(value, dict) or callable(value):
        return b""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        return repr(value).encode()
    return repr(array.shape).encode() + (array.astype(np.float64) + 0.0).tobytes()


def _key_of(wrong: Any, arguments: tuple, settings: dict) -> int:
    """The number of a call. It also notes the call in a dict among the arguments."""
    text = repr(sorted(wrong.items())) if len(wrong) < 2 else repr(sorted(wrong.items(), key=str))
    states = [one for one in arguments if isinstance(one, dict)]
    before = states[0].get(_SO_FAR, b"") if states else b""
    # After the first step theta is what came back: the calls before say it all.
    told = arguments[1:] if before else arguments
    content = [before, text.encode(), _bytes_of(told), repr(sorted(settings.items())).encode()]
    digest = hashlib.blake2b(b"|".join(content), digest_size=8).digest()
    if states:
        states[0][_SO_FAR] = digest
    return int.from_bytes(digest, "little", signed=True)'''

REPLAY = '''\
_STORE = Path(__file__).resolve().parent / "answers.npz"


class _Answers:
    """What is stored for one exercise: its cases, and what came of every call."""

    def __init__(self, name: str) -> None:
        with np.load(_STORE, allow_pickle=False) as file:
            part = {key: file[f"{name}/{key}"] for key in
                    ("keys", "values", "table", "real", "single", "whole", "truth", "texts")}
        self.part = part
        self.numbers = dict(zip(part["keys"].tolist(), part["values"].tolist(), strict=True))
        self.texts = json.loads(bytes(part["texts"]))

    def array(self, number: int) -> Array:
        pool, start, size, dimensions, *shape = self.part["table"][number].tolist()
        flat = self.part[("real", "single", "whole", "truth")[pool]][start:start + size]
        array = flat.reshape(shape[:dimensions])
        return array.astype(np.float64) if pool == 1 else array.copy()

    def value(self, told: Any) -> Any:
        """A value from its description: the number of an array, or a text that says what it is."""
        kind, what = told if isinstance(told, list) else ("array", told)
        match kind:
            case "array":
                return self.array(what)
            case "number":
                return self.array(what)[()]
            case "plain":
                return what
            case "list":
                return [self.value(one) for one in what]
            case "tuple":
                return tuple(self.value(one) for one in what)
            case "dict":
                return {name: self.value(one) for name, one in what}
            case "object":
                made = object.__new__(globals()[what[0]])
                vars(made).update({name: self.value(one) for name, one in what[1]})
                return made
        raise ValueError(kind)

    def call(self, key: int) -> Any:
        number = self.numbers[key]
        told = number if number >= 0 else self.texts["values"][-number - 1]
        if isinstance(told, list) and told[0] == "error":
            kind, said = told[1]
            try:
                error = getattr(builtins, kind)(said)
            except TypeError:  # some take more than a text
                error = ValueError(said)
            raise error
        return self.value(told)


@functools.cache
def _answers_of(name: str) -> _Answers:
    return _Answers(name)


class _Replay:
    """In place of a function: it looks up what the function returned."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any, wrong: Wrong, **settings: Any) -> Any:
        return _answers_of(self.name).call(_key_of(wrong, arguments, settings))


class _StoredCases:
    """In place of the function that draws cases: those of the seeds that are stored."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rng: np.random.Generator) -> list[Case]:
        state = str(rng.bit_generator.state["state"]["state"])
        told = self.texts["cases"]
        chosen = told.get(state) or list(told.values())[int(state) % len(told)]
        answers = _answers_of(self.name)
        return [Case(about, answers.value(arguments)) for about, arguments in chosen]

    @property
    def texts(self) -> dict:
        return _answers_of(self.name).texts


class _Sizes:
    """In place of a formula of two sizes: its values where they are needed."""

    def __init__(self, values: dict[tuple[int, int], float]) -> None:
        self.values = values

    def __call__(self, one: int, two: int) -> float:
        return self.values[one, two]


def _gone(*_: Any, **__: Any) -> Any:
    """In place of everything that would be an answer."""
    return _gone


def _named(*names: str) -> Callable:
    """The same, with the arguments that the exercise asks for."""
    def gone(*_: Any, **__: Any) -> Any:
        return None

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    gone.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return gone'''

FILL = '''\
# No answer is in this file: what is right, and what each known mistake returns, is looked up.
for _name, _exercise in list(CATALOGUE.items()):
    CATALOGUE[_name] = dataclasses.replace(
        _exercise, answer=_named(*_ARGUMENTS[_name]), form=_Replay(_name),
        cases=_StoredCases(_name) if _exercise.cases is not None else None)'''

HANDED_OUT = '''\
class NotWritten(Exception):
    """A cell needs a function that isn't written; one line in place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✎ {self}"]


def _unwritten(name: str) -> Callable:
    exercise = CATALOGUE[name]

    def missing(*_: Any, **__: Any) -> Any:
        raise NotWritten(f"This cell needs {name}, which is not written yet: see "
                         f"“{exercise.section}” in notebook {exercise.notebook}.")

    missing.__name__ = name
    missing.lent_by_the_workbook = True
    return missing


def check(name: str, function: Any, *, seed: int = 0) -> Callable:
    """Judge, say the verdict, keep it; return the reader's function. Nothing is lent.

    A function that isn't written is replaced by one that says so where a cell needs it.
    Raises AssertionError only when the environment says WORKBOOK_STRICT=1.
    """
    verdict = judge(name, function, seed=seed)
    text = verdict.message
    if verdict.status == "blank" and getattr(function, "lent_by_the_workbook", False):
        text = "Not written yet, or its cell has not run."
    if not verdict.right:
        text += f' hint("{name}") helps, one step at a time.'
    _say(_MARKS.get(verdict.status, "✗"), text, _COLOURS.get(verdict.status, "#b3261e"))
    _keep({"kind": "check", "exercise": name, "status": verdict.status,
           "mistakes": list(verdict.mistakes)})
    if not verdict.right and os.environ.get("WORKBOOK_STRICT") == "1":
        raise AssertionError(f"{name}: {verdict.message}")
    return _unwritten(name) if verdict.status == "blank" else function


def hint(name: str, level: int | None = None) -> None:
    """One step further with each call: question, shapes and formula, an example in numbers."""
    if name not in CATALOGUE:
        raise KeyError(f"there is no exercise {name!r}; there are {', '.join(CATALOGUE)}")
    exercise = CATALOGUE[name]
    level = level or min(_hints_given.get(name, 0) + 1, 3)
    if level not in (1, 2, 3):
        raise ValueError(f"hints have the levels 1 to 3; got {level}")
    _hints_given[name] = level
    text = exercise.hints[level - 1]
    print(f"Hint {level} of 3. {text} {_where(exercise) if level == 1 else ''}".rstrip())'''

# The code above, for this module itself: the keys must be the same on both sides.
_RECORDING: dict[str, Any] = {"np": np, "hashlib": hashlib, "Any": Any}
exec(STORED, _RECORDING)


class Recorder:
    """A form that remembers what came of each call."""

    def __init__(self, form: Callable, calls: dict[int, Any]) -> None:
        self.form, self.calls = form, calls

    def __call__(self, *arguments: Any, wrong: Any, **settings: Any) -> Any:
        key = _RECORDING["_key_of"](wrong, arguments, settings)
        try:
            value = self.form(*arguments, wrong=wrong, **settings)
        except Exception as error:
            self.calls[key] = error
            raise
        if hasattr(value, "__next__"):
            value = list(value)
        self.calls[key] = copied(value)
        return value


def copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    return value


class Packer:
    """Values of one exercise as a few arrays; equal arrays are kept once."""

    POOLS = ("real", "single", "whole", "truth")

    def __init__(self, exact: bool, classes: set[str]) -> None:
        self.exact, self.classes = exact, classes
        self.pools: dict[str, list[np.ndarray]] = {name: [] for name in self.POOLS}
        self.sizes = dict.fromkeys(self.POOLS, 0)
        self.table: list[list[int]] = []
        self.known: dict[Any, int] = {}
        self.texts: list[Any] = []

    def array(self, array: np.ndarray) -> int:
        kind = array.dtype.kind
        if kind == "f":
            with np.errstate(all="ignore"):
                single = array.astype(np.float32)
            same = np.array_equal(single.astype(np.float64), array, equal_nan=True)
            # Rounded to float32 is close enough to compare with, unless that makes it inf or 0.
            fits = np.array_equal(np.isfinite(single), np.isfinite(array)) and np.array_equal(
                single == 0, array == 0
            )
            rounded = fits and not self.exact
            pool = "single" if same or rounded else "real"
            array = single if pool == "single" else array.astype(np.float64)
        elif kind in "iu":
            pool, array = "whole", array.astype(np.int64)
        elif kind == "b":
            pool = "truth"
        else:
            raise ValueError(f"an array of {array.dtype} can't be stored")
        if array.ndim > 4:
            raise ValueError("arrays of more than four dimensions can't be stored")
        key = (pool, array.shape, array.tobytes())
        if key not in self.known:
            shape = [*array.shape, 0, 0, 0, 0][:4]
            place = [self.POOLS.index(pool), self.sizes[pool], array.size, array.ndim, *shape]
            self.known[key] = len(self.table)
            self.table.append(place)
            self.pools[pool].append(array.ravel())
            self.sizes[pool] += array.size
        return self.known[key]

    def told(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, np.generic):
            return ["number", self.array(np.asarray(value))]
        if value is None or isinstance(value, bool | int | float | str):
            return ["plain", value]
        if isinstance(value, tuple):
            return ["tuple", [self.told(one) for one in value]]
        if isinstance(value, list):
            return ["list", [self.told(one) for one in value]]
        if isinstance(value, dict):
            return ["dict", [[name, self.told(one)] for name, one in value.items()]]
        if type(value).__module__ == "exercises":
            self.classes.add(type(value).__name__)
            parts = [[name, self.told(one)] for name, one in vars(value).items()]
            return ["object", [type(value).__name__, parts]]
        raise ValueError(f"a {type(value).__name__} can't be stored")

    def call(self, value: Any) -> int:
        """The number under which the outcome of a call is stored."""
        if isinstance(value, Exception):
            name = type(value).__name__
            known = name if hasattr(builtins, name) else "ValueError"
            told: Any = ["error", [known, str(value)[:200]]]
        else:
            told = self.told(value)
        if isinstance(told, int):
            return told
        text = json.dumps(told)
        if text not in self.known:
            self.texts.append(told)
            self.known[text] = -len(self.texts)
        return self.known[text]

    def packed(self, calls: dict[int, Any], cases: dict[str, Any]) -> dict[str, np.ndarray]:
        told = {state: [[c.about, self.told(tuple(c.arguments))] for c in some]
                for state, some in cases.items()}
        values = [self.call(value) for value in calls.values()]
        texts = json.dumps({"values": self.texts, "cases": told}).encode()
        kinds = {"real": np.float64, "single": np.float32, "whole": np.int64, "truth": np.bool_}
        pools = {
            name: np.concatenate([np.empty(0, kinds[name]), *parts]).astype(kinds[name])
            for name, parts in self.pools.items()
        }
        return {
            "keys": np.array(list(calls), np.int64),
            "values": np.array(values, np.int32),
            "table": np.array(self.table, np.int32).reshape(-1, 8),
            "texts": np.frombuffer(texts, np.uint8),
            **pools,
        }


def recorded_answers(exercise: Any, judge: Callable, catalogue: dict[str, Any],
                     seeds: Iterable[int], classes: set[str]) -> dict[str, np.ndarray]:
    """Everything the checks may ask about one exercise: cases, ours, every mistake and pair.

    The checks themselves draw the cases and run ours; what they run of the mistakes depends on the
    reader's function, so every mistake and every pair is run on every case.
    """
    calls: dict[int, Any] = {}
    cases: dict[str, Any] = {}
    drawn: list[Any] = []

    def draw(rng: np.random.Generator) -> list[Any]:
        state = str(rng.bit_generator.state["state"]["state"])
        drawn[:] = exercise.cases(rng)
        cases[state] = list(drawn)
        return list(drawn)

    watched = dataclasses.replace(exercise, form=Recorder(exercise.form, calls), cases=draw)
    catalogue[exercise.name] = watched
    try:
        for seed in seeds:
            judge(exercise.name, lambda *_, **__: np.zeros((7, 3)), seed=seed)
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # mistakes divide by 0 and average nothing
                again = list(drawn)
                if exercise.warm:  # the last case repeats the first, as in the checks
                    again[-1] = again[-1]._replace(arguments=again[0].arguments)
                for wrong in ({}, *exercise.singles(), *exercise.pairs()):
                    form = watched.make(wrong)
                    for case in again:
                        try:
                            watched.perform(form, case)
                        except Exception:
                            continue  # it crashes there, and that is recorded
    finally:
        catalogue[exercise.name] = exercise
    return Packer(exercise.tolerance < 1e-6, classes).packed(calls, cases)


def handout_exercises(project: Path, chosen: set[str]) -> tuple[str, dict[str, np.ndarray]]:
    """exercises.py without an answer in it, and the arrays that it looks up instead.

    chosen : the names of the exercises
    """
    checks, exercises = own_modules(project)
    catalogue = exercises.CATALOGUE
    arrays, classes = {}, set()
    for name in chosen:
        if catalogue[name].cases is not None:
            told = recorded_answers(catalogue[name], checks.judge, catalogue, SEEDS, classes)
            arrays |= {f"{name}/{part}": array for part, array in told.items()}
    cached = [value for value in vars(checks).values() if hasattr(value, "cache_clear")]
    for function in cached:  # what was drawn while the answers were recorded
        function.cache_clear()
    source = (project / "exercises.py").read_text(encoding="utf-8")
    checks_source = (project / "checks.py").read_text(encoding="utf-8")
    text = exercises_text(source, checks_source, exercises, chosen, classes)
    return text, arrays


def own_modules(project: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """The project's checks and exercises."""
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    import checks
    import exercises

    return checks, exercises


def answering_names(catalogue: dict[str, Any]) -> set[str]:
    """The names of the functions that hold an answer: ours, the forms, what draws cases."""
    names = set()
    for exercise in catalogue.values():
        for function in (exercise.answer, exercise.form, exercise.cases):
            if function is not None:
                names.add(function.__qualname__.split(".")[0])
    return names


def tables_of_formulas(exercises: types.ModuleType) -> dict[str, Any]:
    """Module-level tables whose entries are functions: name -> the same with values in it."""
    sizes = sorted({(80, 240), (240, 60), (120, 120)})

    def worked_out(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: worked_out(one) for name, one in value.items()}
        return {pair: float(value(*pair)) for pair in sizes}

    def is_table(value: Any) -> bool:
        if isinstance(value, dict) and value:
            return all(map(is_table, value.values()))
        return isinstance(value, types.LambdaType) and value.__name__ == "<lambda>"

    return {
        name: worked_out(value)
        for name, value in vars(exercises).items()
        if isinstance(value, dict) and is_table(value)
    }


def table_text(name: str, value: Any) -> str:
    """A table of formulas as a table of numbers."""

    def written(value: Any, depth: int) -> str:
        inner = next(iter(value))
        if isinstance(inner, tuple):
            parts = ", ".join(f"{pair}: {number!r}" for pair, number in value.items())
            return f"_Sizes({{{parts}}})"
        indent = "    " * (depth + 1)
        lines = [f"{indent}{key!r}: {written(one, depth + 1)}," for key, one in value.items()]
        return "{\n" + "\n".join(lines) + "\n" + "    " * depth + "}"

    return f"{name} = {written(value, 0)}"


def exercises_text(source: str, checks_source: str, exercises: types.ModuleType,
                   chosen: set[str], classes: set[str]) -> str:
    """The catalogue's module with a stand-in for everything that holds an answer."""
    tree, lines = ast.parse(source), source.splitlines()
    body = tree.body[1:] if ast.get_docstring(tree) is not None else list(tree.body)
    bound = [names_bound(node) for node in body]
    everything = set().union(*bound)
    gone = answering_names(exercises.CATALOGUE) & everything
    tables = tables_of_formulas(exercises)

    def registers_another(node: ast.stmt) -> bool:
        """Whether a statement adds an exercise that isn't handed out."""
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            return False
        first = node.value.args[0] if node.value.args else None
        named = first.value if isinstance(first, ast.Constant) else None
        return named in exercises.CATALOGUE and named not in chosen

    imported = {
        alias.name
        for node in ast.walk(ast.parse(checks_source))
        if isinstance(node, ast.ImportFrom) and node.module == "exercises"
        for alias in node.names
    }
    roots = imported | classes | {"Case", "Exercise", "CATALOGUE", "Wrong", "Array"}
    # What follows the catalogue in a statement of its own (NAMES = …) belongs to it.
    uses = [names_used(node) for node in body]
    wanted = {
        i for i, node in enumerate(body)
        if (bound[i] & roots or isinstance(node, ast.Expr | ast.For) or "CATALOGUE" in uses[i])
        and not bound[i] & gone and not registers_another(node)
    }  # fmt: skip
    while True:
        used = set().union(*(uses[i] for i in wanted))
        more = {i for i in range(len(body)) if bound[i] & used - gone} - wanted
        more = {i for i in more if not bound[i] & gone and not registers_another(body[i])}
        if not more:
            break
        wanted |= more
    for i in wanted:
        calls_answer = uses[i] & gone
        if calls_answer and isinstance(body[i], ast.FunctionDef | ast.ClassDef):
            raise ValueError(
                f"{body[i].name} is needed to check and calls {', '.join(sorted(calls_answer))}, "
                "which is an answer: a hand-out can't have both"
            )
    used |= {n.id for i in wanted for n in ast.walk(body[i]) if isinstance(n, ast.Name)}
    extra = "\n".join(
        f"import {name}"
        for name in ("builtins", "dataclasses", "functools", "hashlib", "inspect", "json")
    )
    parts = ['"""The hand-out\'s exercises: what is asked, and what is said about mistakes.\n\n'
             "Cases, right answers and those of known mistakes are arrays in answers.npz.\n"
             '"""', "from __future__ import annotations", extra, "from pathlib import Path"]
    placed = False
    stand_ins = "\n".join(f"{name} = _gone" for name in sorted(gone))
    for i in sorted(wanted):
        node = body[i]
        if isinstance(node, ast.Import | ast.ImportFrom):
            if getattr(node, "module", "") == "__future__" or not bound[i] & used:
                continue
            parts.append(source_of(node, lines))
            continue
        if not placed and "Case" not in bound[i] and any("Exercise" in b for b in bound[:i]):
            parts += [STORED, REPLAY, stand_ins]
            placed = True
        table = bound[i] & tables.keys()
        parts.append(table_text(*table, tables[next(iter(table))]) if table else
                     source_of(node, lines))
    lines = [
        f"    {name!r}: {tuple(inspect.signature(exercises.CATALOGUE[name].answer).parameters)!r},"
        for name in exercises.CATALOGUE
        if name in chosen
    ]
    arguments = "\n".join(["_ARGUMENTS = {", *lines, "}"])
    text = "\n\n\n".join([*parts, arguments, FILL])
    ast.parse(text)
    return text + "\n"


def handout_checks(source: str) -> str:
    """checks.py that lends nothing and whose hints end at level three."""
    tree, lines = ast.parse(source), source.splitlines()
    replaced = {"check", "hint", "_lend"}
    parts, placed = [], False
    end_before = 0
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        between = "\n".join(lines[end_before : first - 1])
        own = "\n".join(lines[first - 1 : node.end_lineno])
        end_before = node.end_lineno
        if names_bound(node) & replaced:
            if not placed:
                parts += [between, HANDED_OUT]
                placed = True
            continue
        parts += [between, own]
    if not placed:
        raise ValueError("checks.py defines neither check nor hint")
    text = "\n".join(parts)
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    text = re.sub(r'(?m)^    hint\("softmax"\).*$', '    hint("softmax")        '
                  "               # a step further with each call, three at most", text)
    text = text.replace("goes on with yours when it is right", "goes on with yours")
    ast.parse(text)
    return text.rstrip("\n") + "\n"


# ── Notebooks ─────────────────────────────────────────────────────────────────────────────────────

SETUP_CELL = """\
# The same in every notebook: find helpers.py and checks.py, here or in a folder above.
import sys
from pathlib import Path

folders = [Path.cwd(), *Path.cwd().parents]
root = next(f for f in folders if (f / "helpers.py").is_file() and (f / "reports").is_dir())
sys.path.insert(0, str(root))
import helpers  # noqa: E402, F401"""
SHORTENED = "*The hand-out holds the exercises of this notebook; the rest of it comes later.*"
MAY_STOP = "raises-exception"  # Jupyter goes on with the next cell when this one raises

LINK = re.compile(r"(!?)\[((?:`[^`]*`|\[[^\]]*\]|[^\[\]])*)\]\(([^)\s]+)\)")


def relinked(source: str, files: set[str]) -> str:
    """Links to what is handed out; of the others the words remain."""
    code = [m.span() for m in re.finditer(r"(?s)```.*?```|`[^`\n]*`", source)]

    def moved(match: re.Match[str]) -> str:
        picture, text, link = match.groups()
        if learn.ELSEWHERE.match(link) or any(a <= match.start() < b for a, b in code):
            return match[0]
        name, mark, fragment = link.partition("#")
        target = posixpath.normpath(posixpath.join("notebooks/learn", name))
        target = target.replace("notebooks/learn/", "notebooks/", 1)
        if target in files:
            return f"{picture}[{text}]({posixpath.relpath(target, 'notebooks')}{mark}{fragment})"
        return f"*{text}*" if picture else text

    return LINK.sub(moved, source)


def only_defines(source: str) -> bool:
    """Whether a cell holds imports and definitions alone, so that nothing in it can be missing."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    return all(isinstance(node, kinds) for node in learn.parsed(source).body)


def imports_something(source: str) -> bool:
    body = learn.parsed(source).body
    return any(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def exercises_alone(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The title, set-up and imports, and each exercise with the text before it and its check."""
    wanted = {0}
    code = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    wanted |= set(code[:1]) | {i for i in code[:4] if imports_something(cells[i].source)}
    for i, cell in enumerate(cells):
        if kinds_of(cell) & {"exercise", "check"}:
            wanted.add(i)
            before = i - 1
            while before > 0 and cells[before].cell_type == "markdown":
                wanted.add(before)
                before -= 1
    return [cell for i, cell in enumerate(cells) if i in wanted]


def handout_notebook(twin: Twin, files: set[str]) -> str:
    """A notebook of the hand-out, made from the learner's edition."""
    notebook = nbformat.reads(twin.text, as_version=4)
    if number_of(Path(twin.name)).startswith(EXERCISES_OF):
        notebook.cells = exercises_alone(notebook.cells)
        notebook.cells[0].source += f"\n\n{SHORTENED}"
    first = notebook.cells[0]
    lines = [one for one in first.source.splitlines() if not one.startswith((TWIN, BADGE))]
    first.source = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if code:  # the set-up cell comes first, and finds or clones what holds the answers
        code[0].source = SETUP_CELL
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, files)
        elif cell is not code[0] and not only_defines(cell.source):
            cell.metadata["tags"] = [*tags_of(cell), MAY_STOP]
    notebook.metadata["workbook"] = {"edition": "hand-out"}
    return nbformat.writes(notebook) + "\n"


# ── The archive ───────────────────────────────────────────────────────────────────────────────────

PACKAGES = (
    "numpy", "pandas", "matplotlib", "pillow", "seaborn", "scikit-learn", "joblib", "threadpoolctl",
    "scipy", "keras", "jax", "tqdm", "jupyterlab", "ipython", "ipywidgets",
)  # fmt: skip

README = """\
# The Backprop Workbook: hand-out

You write a neural network in NumPy: the way forward, its gradients, the training loop and six
update rules. Each exercise is a function with a name and a description; a check below it says how
it went, and where it knows the mistake, which idea is wrong.

## Begin

You need Python 3.11 or newer. In this folder:

```bash
python3 -m venv .venv
.venv/bin/python -m pip install -r requirements.txt
.venv/bin/jupyter lab
```

On Windows it is `python` for the first line and `.venv\\Scripts\\` in place of `.venv/bin/`. Then
open the first notebook in `notebooks/` and run it from the top.

The data are downloaded when they are first needed. `data/README.md` says how to do without a
network; where there are no data, small digits take their place and the notebooks say so.

## Work

- Write in the place of `raise NotImplementedError`. Keep the function's name and its arguments.
- `check("softmax", softmax)` runs your function on a few cases. It never shows code.
- `hint("softmax")` goes a step further with each call, three in all. `progress()` shows where you
  are.
- Nothing is lent: a cell that needs a function you haven't written says which one, in one line, and
  the notebook goes on. Long trainings are read from records; a cell that would need more says so
  and can be left out. The full workbook comes after the deadline.
- Loops are fine. What counts is what comes back.

## Hand in

Hand in the folder `notebooks/` as a .zip file, or the notebooks one by one. Only your functions are
graded, by their names and on other cases than those of the checks; experiments are not run. A
function may stand in any notebook, and cells in any order. A mistake costs its marks once: where
your `forward` calls your `softmax`, and only `softmax` is wrong, `forward` is judged with ours.

The exercises, with their points:

{table}
"""

REPORTS_README = """\
# Records

Tables of experiments that came with the workbook, read by its notebooks. `local/` holds your own.
"""


def requirements(project: Path) -> str:
    """What the hand-out's notebooks import, in the versions the workbook takes."""
    listed = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    ranges = {re.split(r"[<>=~!]", one)[0]: one for one in listed["project"]["dependencies"]}
    return "\n".join(ranges[name] for name in PACKAGES if name in ranges) + "\n"


def numerics_of(project: Path) -> tuple[str, str]:
    """Under which name and digest the project's record was trained."""
    code = "import helpers; print(helpers.numerics_id(), helpers.numerics_digest())"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(project)!r}); {code}"],
        capture_output=True, encoding="utf-8", check=True, cwd=project,
    )  # fmt: skip
    name, digest = told.stdout.split()[-2:]
    return name, digest


def record_files(project: Path) -> dict[str, bytes]:
    """The tables that experiments are read from; networks and pictures stay."""
    patterns = ("*.csv", "*.csv.gz", "*.json", "store/*.csv.gz", "store/*.npz")
    paths = [path for pattern in patterns for path in (project / "reports").glob(pattern)]
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in sorted(paths)}


def chosen_exercises(catalogue: dict[str, Any]) -> list[str]:
    return [name for name, e in catalogue.items() if e.notebook.startswith(WHOLE + EXERCISES_OF)]


def archive_files(project: Path) -> dict[str, bytes]:
    """Every file of the hand-out, by its name in the archive."""
    _, exercises = own_modules(project)
    catalogue = exercises.CATALOGUE
    chosen = chosen_exercises(catalogue)
    handed = [
        twin for twin in learn.twins(project / "notebooks")
        if number_of(Path(twin.name)).startswith(WHOLE + EXERCISES_OF)
    ]  # fmt: skip
    table = ["| notebook | exercise | points |", "|---|---|---|"]
    table += [f"| {catalogue[n].notebook} | `{n}` | {catalogue[n].points} |" for n in chosen]
    texts = {
        "README.md": README.replace("{table}", "\n".join(table)),
        "requirements.txt": requirements(project),
        "data/README.md": (project / "data" / "README.md").read_text(encoding="utf-8"),
        "reports/README.md": REPORTS_README,
        "helpers.py": handout_helpers(
            (project / "helpers.py").read_text(encoding="utf-8"),
            *numerics_of(project),
            frozenset(catalogue),
        ),
        "checks.py": handout_checks((project / "checks.py").read_text(encoding="utf-8")),
    }
    if (project / "LICENSE").is_file():
        texts["LICENSE"] = (project / "LICENSE").read_text(encoding="utf-8")
    texts["exercises.py"], arrays = handout_exercises(project, set(chosen))
    files = record_files(project)
    for twin in handed:
        if twin.picture:
            files[f"notebooks/pictures/{number_of(Path(twin.name))}.png"] = twin.picture
    names = {*texts, *files, *(f"notebooks/{twin.name}" for twin in handed)}
    for twin in handed:
        texts[f"notebooks/{twin.name}"] = handout_notebook(twin, names)
    files |= {name: text.encode() for name, text in texts.items()}
    return files | {"answers.npz": packed_arrays(arrays)}


def packed_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as an .npz file; the same arrays, the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(),
                             zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def handout_leaks(files: dict[str, bytes], project: Path) -> list[str]:
    """Lines of a solution, of a notebook or of the catalogue, that occur in the hand-out."""
    _, exercises = own_modules(project)
    lines = learn.solution_lines(project / "notebooks")
    for name, exercise in exercises.CATALOGUE.items():
        # The signature is no secret.
        for line in inspect.getsource(exercise.answer).splitlines()[1:]:
            line = learn.squeezed(line)
            if len(line) >= learn.SHORTEST_LEAK:
                lines.setdefault(line, f"the answer to {name}")
    wrong = []
    for name, content in files.items():
        if name.endswith(".npz"):
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                members = [m for m in stored.files if m.endswith("/texts")]
                texts = [bytes(stored[m]).decode() for m in members]
        elif name.endswith((".py", ".ipynb", ".md", ".txt", ".json")):
            text = content.decode("utf-8")
            texts = text.splitlines()
            if name.endswith(".ipynb"):  # as it is read, not as JSON writes it
                cells = nbformat.reads(text, as_version=4).cells
                texts += [line for cell in cells for line in cell.source.splitlines()]
        else:
            continue
        for text in texts:
            wrong += learn.leaks_in(text, lines, name)
    return sorted(set(wrong))


def handout(project: Path = ROOT) -> int:
    """Write dist/backprop-workbook-handout.zip, unless a line of a solution is in it."""
    try:
        files = archive_files(project)
    except (learn.BadMark, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    wrong = handout_leaks(files, project)
    if wrong:
        print(*wrong, "Nothing was written.", sep="\n", file=sys.stderr)
        return 1
    path = project / "dist" / f"{NAME}.zip"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):  # dated alike, so that the same files make the same archive
            info = zipfile.ZipInfo(f"{NAME}/{name}")
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED)
    temporary.replace(path)
    notebooks = sum(name.endswith(".ipynb") for name in files)
    print(f"{path}: {notebooks} notebooks, {path.stat().st_size / 1e6:.1f} MB")
    return 0
