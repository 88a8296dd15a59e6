"""Grade a folder of submissions: a table of points, a page of feedback each, a table for the class.

**This is not a sandbox.** A submission is a stranger's program and runs with the rights of whoever
grades it: it can read files, write to them and use the network. What is here keeps accidents apart
(an endless loop, `sys.exit()`, a gigabyte of output) and stops nobody who means harm. Grade in a
container without a network where that matters:

    docker run --rm --network none -v "$PWD":/project -v "$PWD/../submissions":/in:ro \\
        -w /project IMAGE .venv/bin/python .ci/workbook.py grade /in

Of a submission only imports, constants and definitions run, picked from the syntax tree of its
cells, and of these only what an exercise's function needs. Experiments never run. A function is
found by its name, whatever happened to cells, tags and files. Where it is defined more than once,

1. a definition that is written counts before one that still says `raise NotImplementedError`,
2. one in the notebook that the exercise belongs to before one elsewhere,
3. and the last of these, as in a notebook that was run from top to bottom. A definition that is no
   Python does not count. The page of feedback says which one was graded.

An exercise whose function calls that of another one, which is wrong or missing, is judged a second
time with ours in its place: a mistake costs its marks once.

Each submission runs in a process of its own, with a limit of time and, where the system has such
limits, of memory. A process that ends or hangs costs the exercise it was at; another goes on from
there.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import csv
import html
import io
import json
import linecache
import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Limits. An exercise is judged in less than 0.1 s; a loop written in Python takes perhaps 1 s.
PROCESSOR_SECONDS = 6.0  # for one exercise
WALL_SECONDS = 60.0  # for one that waits
PATIENCE = 3  # exercises that ran into the limit; the others then get SHORT_SECONDS
SHORT_SECONDS = 1.5
MEMORY = 4 << 30
LARGEST_FILE = 64 << 20  # of a submission; a larger one is not read
LONGEST_MESSAGE = 3000

OURS = {"helpers.py", "checks.py", "exercises.py", "conftest.py", "setup.py"}
NOT_SEARCHED = {"__MACOSX", "tests", "site-packages", "node_modules", "build", "dist"}
REPORTED = ("right", "known", "wrong", "shape", "mutates", "crash", "blank", "time", "ended")
WORDS = {
    "right": "right",
    "known": "a known mistake",
    "wrong": "wrong",
    "shape": "another shape",
    "mutates": "changes its argument",
    "crash": "crashes",
    "blank": "not written",
    "time": "takes too long",
    "ended": "ends the program",
    "meddles": "changes other code",
}


# ── What the checks offer: the one place that knows their names ───────────────────────────────────


@dataclass(frozen=True)
class Graded:
    """What grading needs to know of an exercise."""

    name: str
    notebook: str
    section: str
    points: float


def catalogue() -> list[Graded]:
    """Every exercise of the project whose `exercises` module is found first."""
    from exercises import CATALOGUE

    return [Graded(e.name, e.notebook, e.section, e.points) for e in CATALOGUE.values()]


def ours(name: str) -> Callable:
    """Our own answer to an exercise."""
    from exercises import CATALOGUE

    return CATALOGUE[name].answer


# ── Reading a submission: files, cells, statements ────────────────────────────────────────────────


@dataclass
class Cell:
    file: str
    number: int  # 0 in a .py file
    source: str

    @property
    def place(self) -> str:
        return f"{self.file}, cell {self.number}" if self.number else self.file


@dataclass(eq=False)
class Item:
    """A statement that may run: an import, a constant or a definition."""

    node: ast.stmt
    cell: Cell
    order: int
    binds: frozenset[str]
    uses: frozenset[str]
    blank: bool = False

    @property
    def place(self) -> str:
        return f"{self.cell.place}, line {self.node.lineno}"


@dataclass
class Submission:
    items: list[Item] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)  # names of its .py files
    remarks: list[str] = field(default_factory=list)


# A cell's source in a file that is no JSON any more, because its end is missing, say.
SOURCE_IN_RUINS = re.compile(
    r'"(?:source|input)"\s*:\s*(\[(?:\s*"(?:[^"\\]|\\.)*"\s*,?)*\s*\]|"(?:[^"\\]|\\.)*")'
)


def text_of(content: bytes) -> str:
    for encoding in ("utf-8-sig", "utf-16"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")


def cells_of_notebook(content: bytes) -> tuple[list[str], str]:
    """The sources of a notebook's code cells, of any version, and what is wrong with the file."""
    text = text_of(content)
    try:
        document = json.loads(text)
        cells = document.get("cells")
        if cells is None:  # version 3
            cells = [cell for sheet in document["worksheets"] for cell in sheet["cells"]]
        found = []
        for cell in cells:
            if cell.get("cell_type") == "code":
                source = cell.get("source", cell.get("input", ""))
                found.append(source if isinstance(source, str) else "".join(map(str, source)))
            else:
                found.append("")  # it keeps its number
        return found, ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = []
        for match in SOURCE_IN_RUINS.finditer(text):
            with contextlib.suppress(ValueError):
                source = json.loads(re.sub(r",\s*\]$", "]", match[1]), strict=False)
                found.append(source if isinstance(source, str) else "".join(source))
        saved = f"; {len(found)} cells of it could be read all the same" if found else ""
        return found, f"is no notebook{saved}"


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The notebooks and .py files of a submission: a file, a folder or a .zip archive."""

    def wanted(name: str) -> bool:
        parts = Path(name).parts
        hidden = any(part.startswith(".") or part in NOT_SEARCHED for part in parts)
        known = name.lower().endswith((".ipynb", ".py"))
        return known and not hidden and parts[-1].lower() not in OURS

    if path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.is_file() and wanted(name):
                small_enough = file.stat().st_size <= LARGEST_FILE
                yield name, file.read_bytes() if small_enough else b""
            elif file.is_file() and name.lower().endswith(".zip"):
                for inner, content in files_of(file):
                    yield f"{name}/{inner}", content
    elif path.suffix.lower() == ".zip":
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if wanted(info.filename) and info.file_size <= LARGEST_FILE:
                    with contextlib.suppress(Exception):  # a password, a broken member
                        yield info.filename, archive.read(info)
    else:
        yield path.name, path.read_bytes() if path.stat().st_size <= LARGEST_FILE else b""


def ours_by_another_name(text: str) -> bool:
    """Whether a .py file is a copy of the workbook's own modules, which holds our answers."""
    head = text[:4000]
    return "Backprop Workbook's one module" in head or "The workbook's exercises:" in head


def without_magics(source: str) -> str:
    """A cell without IPython's own lines; the others keep their numbers."""
    first = source.lstrip().split("\n", 1)[0].strip()
    if first.startswith("%%") and first.split()[0] not in ("%%time", "%%timeit", "%%capture"):
        return ""  # another language
    return re.sub(r"(?m)^([ \t]*)(?:[%!].*|.*\?)$", r"\1pass", source)


def trees_of(cell: Cell) -> tuple[list[ast.Module], str]:
    """What of a cell is Python, and what is said about the rest."""
    source = without_magics(cell.source.replace("\r\n", "\n"))
    try:
        return [ast.parse(source)], ""
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        complaint = f"{cell.place}: line {getattr(error, 'lineno', '?')} is no Python"
    # A mistake in one function is none in the next: parts that begin at the margin, one by one.
    lines = source.split("\n")
    starts = [i for i, line in enumerate(lines) if re.match(r"[A-Za-z_@]", line)]
    starts = [i for n, i in enumerate(starts) if n == 0 or not lines[starts[n - 1]].startswith("@")]
    trees = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        part = "\n" * start + "\n".join(lines[start:end])
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            trees.append(ast.parse(part))
    return trees, complaint


CONSTANT_CALLS = {"float", "int", "bool", "range", "dict", "list", "tuple", "set", "slice"}
CONSTANT_MODULES = {"np", "numpy", "math", "functools", "itertools", "operator"}
NEVER_CALLED = re.compile(r"load|save|file|random|seed|show|mem|seterr|set_|test")
CONSTANT_NODES = (
    ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp,
    ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.Slice, ast.Starred,
    ast.Lambda, ast.keyword, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def is_constant(node: ast.expr) -> bool:
    """Whether a value may be worked out: numbers, names, NumPy's functions of these; no program."""
    if isinstance(node, ast.Lambda):
        return all(is_constant(d) for d in [*node.args.defaults, *node.args.kw_defaults] if d)
    if isinstance(node, ast.Call):
        chain = node.func
        while isinstance(chain, ast.Attribute):
            if NEVER_CALLED.search(chain.attr):
                return False
            chain = chain.value
        if not isinstance(chain, ast.Name):
            return False
        allowed = CONSTANT_CALLS if chain is node.func else CONSTANT_MODULES
        if chain.id not in allowed:
            return False
        return all(map(is_constant, [*node.args, *(k.value for k in node.keywords)]))
    if not isinstance(node, CONSTANT_NODES):
        return False
    children = ast.iter_child_nodes(node)
    return all(is_constant(child) for child in children if isinstance(child, ast.expr))


class Tidied(ast.NodeTransformer):
    """A definition without annotations, and without defaults and decorators that run a program."""

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = None
        self.generic_visit(node)
        node.decorator_list = [d for d in node.decorator_list if is_constant(d)]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        self.generic_visit(node)
        nothing = ast.Constant(None)
        node.defaults = [d if is_constant(d) else nothing for d in node.defaults]
        node.kw_defaults = [d if d is None or is_constant(d) else nothing for d in node.kw_defaults]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list = [d for d in node.decorator_list if is_constant(d)]
        node.body = picked(node.body) or [ast.Pass()]
        return node


def picked(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """The imports, constants and definitions among some statements; nothing else ever runs."""
    chosen: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if getattr(node, "module", "") != "__future__":
                chosen.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            chosen.append(Tidied().visit(node))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            value = aliased(node) or node.value
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = [n for t in targets for n in getattr(t, "elts", [t])]
            if all(isinstance(n, ast.Name) for n in named) and is_constant(value):
                new = ast.copy_location(ast.Assign(targets, value), node)
                new.by_check = value is not node.value
                chosen.append(new)
        elif isinstance(node, ast.If) and is_constant(node.test):
            inner, other = picked(node.body), picked(node.orelse)
            if inner or other:
                new = ast.If(node.test, inner or [ast.Pass()], other)
                chosen.append(ast.copy_location(new, node))
        elif isinstance(node, ast.Try):
            inner = picked([*node.body, *node.orelse, *node.finalbody])
            handlers = []
            for handler in node.handlers:
                kept = picked(handler.body) or [ast.Pass()]
                handlers.append(ast.ExceptHandler(handler.type, None, kept))
            if inner and handlers:
                chosen.append(ast.copy_location(ast.Try(inner, handlers, [], []), node))
            else:
                chosen += inner
    return chosen


def aliased(node: ast.Assign | ast.AnnAssign) -> ast.expr | None:
    """`mine` in `softmax = check("softmax", mine)`: an exercise may be written by another name."""
    call = node.value
    if isinstance(call, ast.Call) and len(call.args) == 2 and isinstance(call.args[1], ast.Name):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(
            call.func, "id", "")
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if name == "check" and getattr(target, "id", None) != call.args[1].id:
            return call.args[1]
    return None


def is_blank(node: ast.stmt) -> bool:
    """Whether a definition still is as it was handed out."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    returns = [n.lineno for n in ast.walk(node) if isinstance(n, ast.Return)]
    for raised in ast.walk(node):
        if isinstance(raised, ast.Raise) and raised.exc is not None:
            error = raised.exc.func if isinstance(raised.exc, ast.Call) else raised.exc
            if getattr(error, "id", "") == "NotImplementedError" and not any(
                line < raised.lineno for line in returns
            ):
                return True
    return all(
        isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in node.body
    )


def is_function(node: ast.stmt) -> bool:
    """Whether a statement defines a function for certain; `accuracy = best` may be a number."""
    if isinstance(node, ast.Assign):
        return isinstance(node.value, ast.Lambda) or getattr(node, "by_check", False)
    return not isinstance(node, ast.Import | ast.ImportFrom)


def bound_names(node: ast.stmt) -> frozenset[str]:
    names: set[str] = set()
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = {(a.asname or a.name.split(".")[0]) for a in node.names}
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = {node.name}
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                names |= bound_names(child)
            elif isinstance(child, ast.ExceptHandler):
                for statement in child.body:
                    names |= bound_names(statement)
    return frozenset(names)


def read_submission(path: Path) -> Submission:
    """Everything of a submission that may run, in its order."""
    found = Submission()
    files = list(files_of(path))
    own = [(name, content) for name, content in files if "mine" in Path(name).parts[:-1]]
    if own and len(own) < len(files):  # the whole project: what the reader wrote is in mine/
        found.remarks.append("only the folder mine/ was read")
        files = own
    if not files:
        found.remarks.append("there is no notebook in it")
    for name, content in files:
        if not content:
            found.remarks.append(f"{name} is empty or larger than {LARGEST_FILE >> 20} MB")
            continue
        if name.lower().endswith(".py"):
            text = text_of(content)
            if ours_by_another_name(text):
                found.remarks.append(f"{name} is the workbook's own, and was not read")
                continue
            found.modules.add(Path(name).stem)
            cells = [Cell(name, 0, text)]
        else:
            sources, complaint = cells_of_notebook(content)
            if complaint:
                found.remarks.append(f"{name} {complaint}")
            cells = [Cell(name, i + 1, s) for i, s in enumerate(sources) if s.strip()]
        for cell in cells:
            trees, complaint = trees_of(cell)
            if complaint:
                found.remarks.append(complaint)
            for tree in trees:
                for node in picked(tree.body):
                    uses = frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
                    item = Item(node, cell, len(found.items), bound_names(node), uses)
                    item.blank = is_blank(node)
                    found.items.append(item)
    return found


# ── Choosing definitions, and running what they need ──────────────────────────────────────────────


def belongs(file: str, notebook: str) -> bool:
    """Whether a file is the notebook with that number, whatever else its name says."""
    return re.search(rf"(?<![0-9A-Za-z]){notebook}(?![0-9])", Path(file).name) is not None


def candidates(submission: Submission, name: str) -> list[Item]:
    """What may define a function, in order; an import does not, nor does a number."""
    values = (ast.Lambda, ast.Name, ast.Attribute, ast.Call)
    return [
        item for item in submission.items
        if name in item.binds and not isinstance(item.node, ast.Import | ast.ImportFrom)
        and (not isinstance(item.node, ast.Assign) or isinstance(item.node.value, values))
    ]  # fmt: skip


def graded_definition(submission: Submission, name: str, notebook: str) -> Item | None:
    """The definition that counts; see the top of this file."""

    def rank(item: Item) -> tuple:
        home = belongs(item.cell.file, notebook)
        return not item.blank, is_function(item.node), home, item.order

    return max(candidates(submission, name), key=rank, default=None)


def needed(submission: Submission, target: Item, name: str) -> list[Item]:
    """The statements that a definition needs, in the order in which they run; it comes last."""
    by_name: dict[str, list[Item]] = {}
    for item in submission.items:
        for bound in item.binds:
            by_name.setdefault(bound, []).append(item)
    for bound, items in by_name.items():
        written = [item for item in items if not item.blank]
        by_name[bound] = written or items
    stars = [
        item for item in submission.items
        if isinstance(item.node, ast.ImportFrom) and "*" in item.binds
    ]  # fmt: skip
    chosen, waiting = {id(item): item for item in stars}, [target]
    while waiting:
        item = waiting.pop()
        chosen[id(item)] = item
        for used in item.uses:
            if used == name:
                continue
            waiting += [i for i in by_name.get(used, []) if id(i) not in chosen]
    home = target.cell.file
    order = sorted(chosen.values(), key=lambda i: (i.cell.file == home, i.order))
    order.remove(target)
    return [*order, target]


def run_items(items: list[Item], submission: Submission, namespace: dict[str, Any]) -> str:
    """Run statements one by one; return what went wrong with the last one, or ""."""
    flags = annotations.compiler_flag  # an annotation may name what is not imported
    trouble = ""
    for item in items:
        trouble = ""
        place = f"<{item.cell.place}>"
        lines = item.cell.source.splitlines(keepends=True)
        linecache.cache[place] = (len(item.cell.source), None, lines, place)
        try:
            run_node(item.node, place, flags, namespace)
        except Exception as error:
            module = getattr(error, "name", "") or ""
            if isinstance(error, ImportError) and module.split(".")[0] in submission.modules:
                trouble = import_own(item, submission, namespace)
            else:
                trouble = f"{item.place}: {type(error).__name__}: {error}"
    return trouble


def run_node(node: ast.stmt, place: str, flags: int, namespace: dict[str, Any]) -> None:
    def run(one: ast.stmt) -> None:
        tree = ast.fix_missing_locations(ast.Module([one], []))
        exec(compile(tree, place, "exec", flags, dont_inherit=True), namespace)

    try:
        run(node)
    except Exception:
        if not getattr(node, "decorator_list", []):
            raise
        node.decorator_list = []  # a decorator that can't be had makes no function wrong
        run(node)


def import_own(item: Item, submission: Submission, namespace: dict[str, Any]) -> str:
    """Import one of the submission's own .py files: its imports, constants and definitions."""
    for module in submission.modules - sys.modules.keys():
        made = types.ModuleType(module)
        sys.modules[module] = made
        own = [i for i in submission.items if not i.cell.number
               and Path(i.cell.file).stem == module]
        vars(made)["__name__"] = module
        run_items(own, submission, vars(made))
    return run_items([item], Submission(), namespace)


def fresh_namespace() -> dict[str, Any]:
    return {"__name__": "submission", "__builtins__": builtins}


# ── The worker: one submission, in a process of its own ───────────────────────────────────────────


class LazyHelpers(types.ModuleType):
    """`import helpers`, which most submissions say and few need, without its 2 seconds."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = os.environ.get("WORKBOOK_GRADE_HELPERS", "")
        if not os.path.isfile(path):
            raise AttributeError(f"helpers has no {name}")
        source = Path(path).read_text(encoding="utf-8")
        vars(self).update(__file__=path)
        exec(compile(source, path, "exec"), vars(self))
        if name not in vars(self):
            raise AttributeError(f"helpers has no {name}")
        return vars(self)[name]


def snapshot() -> dict[tuple[int, str], tuple[Any, Any]]:
    """What a submission must leave as it is: the names of the modules that judge it."""
    import numpy as np

    modules = [builtins, math, np, np.linalg, np.random]
    modules += [sys.modules[name] for name in ("checks", "exercises") if name in sys.modules]
    held = {}
    for module in modules:
        for name, value in vars(module).items():
            if callable(value) or name.isupper():
                held[id(module), name] = (module, value)
    return held


def changed_names(held: dict[tuple[int, str], tuple[Any, Any]]) -> list[str]:
    """The names that are another object now; they are put back."""
    changed = []
    for (_, name), (module, value) in held.items():
        if vars(module).get(name) is not value:
            changed.append(f"{module.__name__}.{name}")
            setattr(module, name, value)
    return changed


def set_limits() -> None:
    """Limits of the process, where the system has them."""
    with contextlib.suppress(Exception):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        # A loop that forks ends here, unless root grades: root's processes aren't counted.
        mine = [p for p in Path("/proc").glob("[0-9]*") if p.stat().st_uid == os.getuid()]
        if mine:
            most = len(mine) + 300
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def allow_seconds(seconds: float) -> None:
    """End this process when it has used this many more seconds of processor time."""
    with contextlib.suppress(Exception):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def describe() -> None:
    """Print the catalogue, for a process that does not import the checks itself."""
    print(json.dumps([vars(exercise) for exercise in catalogue()]))


def work(job_path: str) -> None:
    """Judge a submission's exercises; one line of JSON for each event, in the job's file."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    process = os.getpid()
    events = open(job["events"], "a", encoding="utf-8")  # noqa: SIM115  open until the end

    def report(**event: Any) -> None:
        if os.getpid() != process:  # the submission forked: its child has nothing to say
            os._exit(0)
        events.write(json.dumps(event) + "\n")
        events.flush()

    import checks

    references = {name: ours(name) for name in job["exercises"]}
    set_limits()
    allow_seconds(10 * PROCESSOR_SECONDS)
    report(event="begin", name="")
    submission = read_submission(Path(job["submission"]))
    report(event="read", remarks=submission.remarks)
    # Whatever looks for the workbook from here on finds an empty shelf.
    judge = checks.judge
    held = snapshot()
    hide_the_workbook()
    statuses: dict[str, str] = dict(job["known"])
    for exercise in job["todo"]:
        name, notebook = exercise["name"], exercise["notebook"]
        report(event="begin", name=name)
        allow_seconds(job["seconds"])
        target = graded_definition(submission, name, notebook)
        if target is None:
            report(event="verdict", name=name, status="blank", mistakes=[], place="",
                   message=f"No function {name} was found in what you handed in.")
            statuses[name] = "blank"
            continue
        items = needed(submission, target, name)
        verdict = judged(judge, name, items, submission, {}, job["seed"])
        # Names of other exercises that this one calls and that are not right: ours step in.
        others = {used for item in items for used in item.uses} & references.keys() - {name}
        lent = sorted(other for other in others if statuses.get(other) != "right")
        if verdict["status"] not in ("right", "blank") and lent:
            names = {other: references[other] for other in lent}
            again = judged(judge, name, items, submission, names, job["seed"])
            if again["status"] == "right":
                verdict = again
                verdict["message"] = (
                    f"Right, once our {' and '.join(lent)} stands in for yours. " + again["message"]
                )
        changed = changed_names(held)
        if changed:
            verdict = {
                "status": "meddles",
                "mistakes": [],
                "message": f"While it runs it replaces {', '.join(changed[:5])}: every other "
                "function that needs these would go wrong.",
            }
        versions = {ast.dump(c.node) for c in candidates(submission, name) if not c.blank}
        if len(versions) > 1:
            verdict["message"] += (
                f"\n({len(versions)} different definitions were found; this one was graded.)"
            )
        statuses[name] = verdict["status"]
        report(event="verdict", name=name, place=target.place, **verdict)
        if changed:
            break  # a new process goes on
    report(event="end")
    os._exit(0)  # threads that a submission left running would keep the process alive


def hide_the_workbook() -> None:
    """Take our answers out of the way of `import`; a deterrent, no lock."""
    for name in ("checks", "exercises"):
        sys.modules.pop(name, None)
    stand_in = types.ModuleType("checks")
    for name in ("check", "hint", "progress", "predict", "reveal", "claim"):
        setattr(stand_in, name, lambda *_, **__: None)
    sys.modules["checks"] = stand_in
    sys.modules["helpers"] = LazyHelpers("helpers")
    shelf = ("exercises.py", "grade.py")
    sys.path[:] = [p for p in sys.path if p and not any((Path(p) / f).is_file() for f in shelf)]


def judged(
    judge: Callable, name: str, items: list[Item], submission: Submission,
    names: dict[str, Any], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The verdict on one function; whatever it does short of ending the process."""
    import numpy as np

    namespace = fresh_namespace()
    limit = sys.getrecursionlimit()
    try:
        trouble = run_items(items, submission, namespace)
        if trouble:
            return {"status": "crash", "mistakes": [], "message": f"It can't be run. {trouble}"}
        function = namespace[name]
        namespace.update(names)
        if not callable(function):
            return {"status": "blank", "mistakes": [], "message": f"{name} is no function."}
        with np.errstate():
            verdict = judge(name, function, seed=seed)
        return {
            "status": str(verdict.status),
            "mistakes": [str(mistake) for mistake in verdict.mistakes],
            "message": str(verdict.message)[:LONGEST_MESSAGE],
        }
    except BaseException as error:  # SystemExit and KeyboardInterrupt too
        ends = isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit)
        lines = traceback.extract_tb(error.__traceback__)
        theirs = [line for line in lines if line.filename.startswith("<")]
        where = f" in {theirs[-1].filename[1:-1]}, line {theirs[-1].lineno}" if theirs else ""
        said = str(error)[:300]
        return {
            "status": "ended" if ends else "crash",
            "mistakes": [],
            "message": f"{type(error).__name__}{where}{': ' + said if said else ''}",
        }
    finally:
        sys.setrecursionlimit(limit)


# ── The grader: processes, limits, what is written ────────────────────────────────────────────────


@dataclass
class Result:
    name: str
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def points(self, exercise: Graded) -> float:
        verdict = self.verdicts.get(exercise.name, {})
        return exercise.points if verdict.get("status") == "right" else 0

    def total(self, exercises: list[Graded]) -> float:
        return sum(self.points(exercise) for exercise in exercises)


def python(project: Path, code: str, *arguments: str) -> list[str]:
    folders = [str(project), str(project / ".ci"), str(Path(__file__).resolve().parent)]
    lines = f"import sys; sys.path[:0] = {folders!r}; {code}"
    return [sys.executable, "-c", lines, *arguments]


def environment(temporary: Path) -> dict[str, str]:
    """What a submission's process inherits: one thread, no windows, folders of its own."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "WORKBOOK"))},
        **one,
        "MPLBACKEND": "Agg",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WORKBOOK_REPORTS": str(temporary / "reports"),
        "WORKBOOK_GRADE_HELPERS": str(temporary / "helpers.py"),
        "WANDB_MODE": "disabled",
    }


def exercises_of(project: Path) -> list[Graded]:
    with tempfile.TemporaryDirectory() as temporary:
        command = python(project, "import grade; grade.describe()")
        told = subprocess.run(
            command, capture_output=True, encoding="utf-8", env=environment(Path(temporary))
        )
    if told.returncode:
        raise SystemExit(f"The exercises cannot be read:\n{told.stderr.strip()}")
    return [Graded(**one) for one in json.loads(told.stdout.splitlines()[-1])]


def grade_one(
    path: Path, exercises: list[Graded], seed: int, project: Path, helpers: str = ""
) -> Result:
    """Judge one submission, whatever it does."""
    started = time.perf_counter()
    result = Result(path.name)
    slow = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        temporary = Path(folder)
        (temporary / "helpers.py").write_text(helpers, encoding="utf-8")
        (temporary / "work").mkdir()
        todo = list(exercises)
        for attempt in range(len(exercises) + 2):
            seconds = SHORT_SECONDS if slow >= PATIENCE else PROCESSOR_SECONDS
            job = {
                "submission": str(path.resolve()),
                "events": str(temporary / f"events-{attempt}"),
                "exercises": [e.name for e in exercises],
                "todo": [vars(e) for e in todo],
                "known": {n: v["status"] for n, v in result.verdicts.items()},
                "seed": seed,
                "seconds": seconds,
            }
            begun, how = run_worker(job, temporary, project, result, seconds)
            if how == "done":
                break
            if begun is None or begun == "":  # it never came to an exercise
                if attempt >= 1:
                    result.remarks.append("it could not be read: the process that read it ended")
                    break
                continue
            if how != "again":
                slow += how == "time"
                message = {
                    "time": f"It was stopped after {seconds:g} seconds: does a loop never end?",
                    "ended": "It ended the whole program: sys.exit, os._exit, too much memory, or "
                    "a recursion without end.",
                }[how]
                result.verdicts[begun] = {
                    "status": how, "mistakes": [], "message": message, "place": ""
                }  # fmt: skip
            todo = [e for e in exercises if e.name not in result.verdicts]
            if not todo:
                break
    result.seconds = time.perf_counter() - started
    return result


def run_worker(
    job: dict[str, Any], temporary: Path, project: Path, result: Result, seconds: float
) -> tuple[str | None, str]:
    """One process: the exercise it was at when it stopped, and done, time, ended or again."""
    job_path, events_path = temporary / "job.json", Path(job["events"])
    job_path.write_text(json.dumps(job), encoding="utf-8")
    events_path.touch()
    process = subprocess.Popen(
        python(project, "import grade; grade.work(sys.argv[1])", str(job_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=temporary / "work",
        env=environment(temporary),
        start_new_session=True,
    )
    begun: str | None = None
    done = False
    # Where processor time has a limit, the wall clock only catches what waits.
    wall = min(WALL_SECONDS, 10 * seconds) if os.name == "posix" else seconds
    deadline, offset, stopped = time.monotonic() + WALL_SECONDS, 0, False
    try:
        while True:
            ended = process.poll() is not None
            with open(events_path, "rb") as file:
                file.seek(offset)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            offset += len(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                deadline = time.monotonic() + wall
                try:
                    event = json.loads(line)
                    kind = event.pop("event")
                    if kind == "begin":
                        begun = event["name"]
                    elif kind == "read":
                        result.remarks = [r for r in event["remarks"] if isinstance(r, str)]
                    elif kind == "verdict":
                        result.verdicts[event.pop("name")] = event
                        begun = "" if begun is None else begun
                    elif kind == "end":
                        done = True
                except Exception:  # a submission wrote into the file
                    continue
            if done or ended:
                break
            if time.monotonic() > deadline:
                stopped = True
                break
            time.sleep(0.01)
    finally:
        stop(process)
    if done:
        missing = [e for e in job["todo"] if e["name"] not in result.verdicts]
        return begun, "again" if missing else "done"
    cpu = os.name == "posix" and process.returncode == -signal.SIGXCPU
    if begun in result.verdicts:  # it ended between two exercises
        return begun, "again"
    return begun, "time" if stopped or cpu else "ended"


def stop(process: subprocess.Popen) -> None:
    """End a submission's process and those it started."""
    with contextlib.suppress(Exception):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(Exception):
        process.wait(10)
    with contextlib.suppress(Exception):  # one that forked while the others were stopped
        for _ in range(20 if os.name == "posix" else 0):
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.005)


def submissions_in(folder: Path) -> list[Path]:
    """Each entry of a folder that is a submission: a folder, a notebook, a .py file, an archive."""
    kinds = {".ipynb", ".py", ".zip"}
    return [
        path for path in sorted(folder.iterdir())
        if not path.name.startswith((".", "__")) and (path.is_dir() or path.suffix.lower() in kinds)
    ]  # fmt: skip


def grade(folder: Path, seed: int | None = None, output: Path | None = None,
          project: Path = ROOT, workers: int | None = None, notebooks: Sequence[str] = ()) -> int:
    """Grade every submission in a folder; write the tables and pages to another one.

    notebooks : numbers of the notebooks whose exercises count (01 02 03 05); none: all
    seed : another seed, other cases; drawn where none is given, and always printed
    output : reports/local/grading/ of the project, unless another folder is named
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SystemExit(f"{folder} is no folder of submissions")
    paths = submissions_in(folder)
    if not paths:
        raise SystemExit(f"{folder} holds no submission")
    seed = secrets.randbelow(10**6) if seed is None else seed
    output = output or project / "reports" / "local" / "grading"
    exercises = exercises_of(project)
    if notebooks:
        exercises = [e for e in exercises if e.notebook.startswith(tuple(notebooks))]
        if not exercises:
            raise SystemExit(f"no exercise belongs to notebook {' or '.join(notebooks)}")
    helpers = helpers_for_submissions(project)
    started = time.perf_counter()
    workers = workers or os.cpu_count() or 1
    print(f"{len(paths)} submissions, {len(exercises)} exercises, seed {seed}", flush=True)
    with ThreadPoolExecutor(workers) as pool:
        results = list(
            pool.map(lambda path: safely_graded(path, exercises, seed, project, helpers), paths)
        )
    write_reports(results, exercises, seed, output)
    minutes = (time.perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes; points, pages and class table in {output}")
    return 0


def safely_graded(path: Path, exercises: list[Graded], seed: int, project: Path,
                  helpers: str) -> Result:
    try:
        return grade_one(path, exercises, seed, project, helpers)
    except Exception as error:  # one submission never stops the others
        return Result(path.name, remarks=[f"grading failed: {type(error).__name__}: {error}"])


def helpers_for_submissions(project: Path) -> str:
    """`helpers` as the hand-out has it: nothing in it can stand in for an answer."""
    try:
        from handout import handout_helpers

        return handout_helpers((project / "helpers.py").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""


# ── Tables and pages ──────────────────────────────────────────────────────────────────────────────


STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto;
padding: 0 1rem; color: #1b1b1b; } table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left;
vertical-align: top; } pre { white-space: pre-wrap; font: inherit; margin: 0; }
.right { color: #00613a; } .about { color: #555; font-size: .9rem; }"""


def cell_text(text: str) -> str:
    """A name for a table that a spreadsheet opens: it must not begin like a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def number(value: float) -> str:
    return f"{value:g}"


def page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>{body}</html>\n"
    )


def feedback(result: Result, exercises: list[Graded], seed: int) -> str:
    """The page for one submission."""
    rows = []
    for exercise in exercises:
        verdict = result.verdicts.get(exercise.name, {"status": "blank", "message": "Not judged."})
        status = verdict["status"]
        place = verdict.get("place") or ""
        where = f'<p class="about">{html.escape(place)}</p>' if place else ""
        rows.append(
            f"<tr><td><b>{html.escape(exercise.name)}</b>"
            f'<br><span class="about">notebook {html.escape(exercise.notebook)}</span></td>'
            f'<td class="{status}">{WORDS.get(status, status)}</td>'
            f"<td>{number(result.points(exercise))} of {number(exercise.points)}</td>"
            f"<td><pre>{html.escape(verdict.get('message', ''))}</pre>{where}</td></tr>"
        )
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in result.remarks)
    total, most = result.total(exercises), sum(e.points for e in exercises)
    body = (
        f"<p><b>{number(total)} of {number(most)} points.</b></p>"
        + (f"<ul>{remarks}</ul>" if remarks else "")
        + "<table><tr><th>exercise<th>verdict<th>points<th>what the check says</tr>"
        + "".join(rows)
        + f'</table><p class="about">Cases drawn with seed {seed}.</p>'
    )
    return page(result.name, body)


def class_rows(results: list[Result], exercises: list[Graded]) -> list[list[Any]]:
    """Exercise, outcome, how many submissions: each known mistake by its name."""
    rows: list[list[Any]] = []
    for exercise in exercises:
        counts: Counter[tuple[str, str]] = Counter()
        for result in results:
            verdict = result.verdicts.get(exercise.name, {"status": "blank"})
            status = verdict["status"]
            for mistake in verdict.get("mistakes") or [""]:
                counts[status, mistake] += 1
        order = {status: place for place, status in enumerate(REPORTED)}
        for (status, mistake), count in sorted(
            counts.items(), key=lambda item: (order.get(item[0][0], 99), -item[1], item[0][1])
        ):
            share = count / len(results)
            rows.append([exercise.notebook, exercise.name, WORDS.get(status, status), mistake,
                         count, round(share, 3)])
    return rows


def table_text(rows: list[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def write_reports(
    results: list[Result], exercises: list[Graded], seed: int, output: Path
) -> None:
    """points.csv, class.csv, index.html and a page for each submission in feedback/."""
    shutil.rmtree(output / "feedback", ignore_errors=True)
    (output / "feedback").mkdir(parents=True)
    names = [e.name for e in exercises]
    most = sum(e.points for e in exercises)
    rows: list[list[Any]] = [["submission", *names, "total", "of", "seed", "remarks"]]
    links, used = [], set()
    for result in results:
        points = [number(result.points(e)) for e in exercises]
        total = number(result.total(exercises))
        remarks = "; ".join(result.remarks)
        named = [cell_text(result.name), *points]
        rows.append([*named, total, number(most), seed, cell_text(remarks)])
        plain = re.sub(r"[^\w.-]+", "_", result.name)[:100].strip(".") or "submission"
        while plain.lower() in used:
            plain += "_"
        used.add(plain.lower())
        content = feedback(result, exercises, seed)
        (output / "feedback" / f"{plain}.html").write_text(content, encoding="utf-8")
        links.append(
            f'<tr><td><a href="feedback/{plain}.html">{html.escape(result.name)}</a></td>'
            f"<td>{total} of {number(most)}</td><td>{html.escape(remarks)}</td></tr>"
        )
    header = ["notebook", "exercise", "verdict", "mistake", "submissions", "share"]
    table = class_rows(results, exercises)
    (output / "points.csv").write_text(table_text(rows), encoding="utf-8", newline="")
    (output / "class.csv").write_text(table_text([header, *table]), encoding="utf-8", newline="")
    known = [row for row in table if row[3]]
    known.sort(key=lambda row: -row[4])
    body = [f'<p class="about">{len(results)} submissions, seed {seed}</p>',
            "<h2>Which misconception how often</h2>",
            "<table><tr><th>exercise<th>mistake<th>submissions<th>share</tr>"]
    body += [
        f"<tr><td>{html.escape(row[1])}</td><td>{html.escape(row[3])}</td><td>{row[4]}</td>"
        f"<td>{row[5]:.0%}</td></tr>"
        for row in known
    ]
    body += ["</table><h2>Every exercise</h2>",
             "<table><tr><th>exercise<th>right<th>wrong<th>not written<th>stopped</tr>"]
    for exercise in exercises:
        statuses = [r.verdicts.get(exercise.name, {"status": "blank"})["status"] for r in results]
        groups = (("right",), ("known", "wrong", "shape", "mutates", "crash", "meddles"),
                  ("blank",), ("time", "ended"))
        cells = "".join(f"<td>{sum(s in group for s in statuses)}</td>" for group in groups)
        body.append(f"<tr><td>{html.escape(exercise.name)}</td>{cells}</tr>")
    body += ["</table><h2>Submissions</h2><table>", *links, "</table>"]
    (output / "index.html").write_text(page("Grading", "".join(body)), encoding="utf-8")
