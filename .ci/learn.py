"""The learner's edition: notebooks/learn/ is made from the notebooks that carry a mark.

A mark is a cell's tag. In the learner's edition

    exercise:NAME    keeps signature, docstring and what stands outside # BEGIN SOLUTION and
                     # END SOLUTION; the rest is `raise NotImplementedError`. Without such markers
                     the whole body of the function NAME is blank. `x = …  # SOLUTION` becomes
                     `x = ...`
    check:NAME       stays
    predict:NAME     stays, with `...` for what is predicted
    answer           becomes a stub; a Markdown cell becomes a place to write
    claims           is dropped
    solution-only    is dropped

The edition is generated, committed and never edited. What a reader writes goes to notebooks/mine/,
which `make start` fills and nothing ever overwrites.
"""

from __future__ import annotations

import ast
import base64
import copy
import hashlib
import io
import json
import os
import posixpath
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

import notebook_rules
from notebook_rules import BADGE, Page, badge_line, repository_address
from pages import write_whole

LEARN, MINE = "learn", "mine"  # folders in notebooks/
DROPPED = {"claims", "solution-only"}
BLANKED = {"exercise", "predict", "answer"}
MARKS = BLANKED | DROPPED | {"check"}
COMPARED = "nbval-check-output"  # nothing to compare with: the edition has no outputs

TWIN = "<!-- twin -->"  # begins the line that says where the other edition is
BLANK = "raise NotImplementedError"
YOUR_CODE = "pass  # your code here"  # where an exception would stop the whole cell
YOUR_ANSWER = "*Your answer:*"
SHORTEST_LEAK = 24  # characters; a shorter line is anybody's

MARKER = re.compile(r"#+\s*(BEGIN|END) SOLUTION\s*")
NEARLY_A_MARKER = re.compile(r"(?i)#+\W*(begin|end)\W+solu\w*")
LINK = re.compile(r"""(\]\(|(?:href|src)=["'])([^)"'\s]+)""")
ELSEWHERE = re.compile(r"(?i)(https?|mailto|data|attachment):|#|/")

# The rules of `notebook_rules` that a notebook without outputs can keep.
RULES: tuple[Callable[[Page], list[str]], ...] = (
    notebook_rules.links_lead_somewhere,
    notebook_rules.no_machine_path,
    notebook_rules.no_key,
    notebook_rules.headings_in_order,
    notebook_rules.unique_ids,
)


class BadMark(ValueError):
    """A notebook's marks can't be followed; the text names the notebook and the cell."""


def tags_of(cell: nbformat.NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def kinds_of(cell: nbformat.NotebookNode) -> set[str]:
    """The marks of a cell without the names that follow them."""
    return {tag.split(":")[0] for tag in tags_of(cell)} & MARKS


def names_of(cell: nbformat.NotebookNode, kind: str) -> list[str]:
    """What stands behind a mark: the exercises of a cell tagged exercise:one and exercise:two."""
    return [tag.split(":", 1)[1] for tag in tags_of(cell) if tag.startswith(f"{kind}:")]


def marked(notebook: nbformat.NotebookNode) -> bool:
    return any(kinds_of(cell) for cell in notebook.cells)


# ── Blank cells ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cut:
    """Lines of a cell that a learner doesn't see, counted from 1, both ends included."""

    first: int
    last: int
    instead: str
    markers: bool = False  # the first and the last line are markers, no solution


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell; a line of IPython's own counts as an empty statement."""
    plain = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)
    try:
        return ast.parse(plain)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} is no Python: {error.msg}") from None


def comments(source: str) -> dict[int, tuple[int, str]]:
    """The comments of a cell: line number -> (column, text). A # in a string is none."""
    plain = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(plain).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = (token.start[1], token.string)
    return found


def marked_regions(source: str) -> list[tuple[int, int]]:
    """The line numbers of each pair of markers. Raises ValueError where they are not in pairs."""
    lines, regions, begun = source.splitlines(), [], None
    for number, (column, text) in sorted(comments(source).items()):
        marker = MARKER.fullmatch(text)
        if marker is None:
            if NEARLY_A_MARKER.match(text):
                raise ValueError(
                    f"line {number} is almost a marker: write # BEGIN SOLUTION or # END SOLUTION"
                )
            continue
        if lines[number - 1][:column].strip():
            raise ValueError(f"line {number}: a marker stands on a line of its own")
        if marker[1] == "BEGIN":
            if begun:
                raise ValueError(f"line {number} begins a solution inside that of line {begun}")
            begun = number
        else:
            if begun is None:
                raise ValueError(f"line {number} ends a solution that never began")
            regions.append((begun, number))
            begun = None
    if begun:
        raise ValueError(f"the solution that begins on line {begun} never ends")
    return regions


def first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement of a cell, and whether it stands in a function."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[ast.stmt, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield child, inside
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, inside or function)

    return walk(tree, False)


def cut_of_region(source: str, tree: ast.Module, begin: int, end: int) -> Cut:
    """What takes the place of the lines between two markers."""
    hidden, in_function = [], []
    for node, inside in statements(tree):
        first, last = first_line(node), node.end_lineno
        if last < begin or first > end:
            continue
        if begin < first and last < end:
            hidden.append(node)
            in_function.append(inside)
        elif not (first < begin and end <= _reach(source, node)):
            raise ValueError(f"the solution of lines {begin} to {end} cuts a statement in two")
    if not hidden:
        raise ValueError(f"the solution of lines {begin} to {end} holds no statement")
    outermost = min(hidden, key=lambda node: (node.col_offset, first_line(node)))
    line = source.splitlines()[first_line(outermost) - 1]
    indent = line[: len(line) - len(line.lstrip())]
    instead = BLANK if in_function[hidden.index(outermost)] else YOUR_CODE
    return Cut(begin, end, indent + instead, markers=True)


def _reach(source: str, node: ast.stmt) -> int:
    """The last line of a block; comments that are indented like its body belong to it."""
    lines, last = source.splitlines(), node.end_lineno or node.lineno
    here = last
    for number in range(last + 1, len(lines) + 1):
        line = lines[number - 1]
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if not line.lstrip().startswith("#") or indent <= node.col_offset:
            break
        here = number
    return here


def cut_of_body(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Cut:
    """What takes the place of a whole body; its docstring stays."""
    lines = source.splitlines()
    has_docstring = ast.get_docstring(node, clean=False) is not None
    head = node.body[0].end_lineno if has_docstring else None
    body = node.body[1:] if has_docstring else node.body
    if not body:
        raise ValueError(f"{node.name} has a docstring and no body")
    if head is None:  # comments between the signature and the first statement belong to the body
        head = _end_of_signature(source, node)
    if first_line(body[0]) <= head:
        raise ValueError(f"write the body of {node.name} on lines of its own")
    line = lines[first_line(body[0]) - 1]
    indent = line[: len(line) - len(line.lstrip())]
    return Cut(head + 1, _reach(source, node), indent + BLANK)


def _end_of_signature(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.start[0] < node.lineno or token.type != tokenize.OP:
            continue
        depth += (token.string in "([{") - (token.string in ")]}")
        if token.string == ":" and depth == 0:
            return token.start[0]
    raise ValueError(f"the signature of {node.name} never ends")


def one_line_cuts(source: str, tree: ast.Module) -> list[Cut]:
    """Assignments that end on `# SOLUTION`: the name stays, the value goes."""
    cuts, regions = [], marked_regions(source)
    for number, (_, text) in comments(source).items():
        if not re.fullmatch(r"#+\s*SOLUTION\s*", text):
            continue
        if any(begin < number < end for begin, end in regions):
            continue  # it goes with the region
        ends = [node for node, _ in statements(tree) if node.end_lineno == number]
        node = min(ends, key=lambda n: n.end_lineno - n.lineno, default=None)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            raise ValueError(f"line {number}: only an assignment can end on # SOLUTION")
        line = source.splitlines()[node.lineno - 1].encode()
        targets = node.targets if isinstance(node, ast.Assign) else [node.annotation]
        if targets[-1].end_lineno != node.lineno:
            raise ValueError(f"line {number}: begin the assignment on the line of its name")
        kept = line[: targets[-1].end_col_offset].decode()
        several = isinstance(targets[-1], ast.Tuple | ast.List) and len(targets[-1].elts)
        cuts.append(Cut(node.lineno, number, f"{kept} = {', '.join(['...'] * (several or 1))}"))
    return cuts


def cuts_of_exercise(source: str, names: list[str], whole_cell: bool = False) -> list[Cut]:
    """The cuts of a cell that holds exercises, or of an answer (``whole_cell``), top to bottom."""
    tree = parsed(source)
    cuts = [cut_of_region(source, tree, *region) for region in marked_regions(source)]
    cuts += one_line_cuts(source, tree)
    by_markers = bool(cuts)
    functions = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name in functions and node.name in names:
                raise ValueError(f"{node.name} is defined twice")
            functions[node.name] = node
    for name in names:
        node = functions.get(name)
        if node is None:
            if not by_markers:
                raise ValueError(f"it is tagged exercise:{name} and defines no function {name}")
        elif not any(first_line(node) <= c.first and c.last <= _reach(source, node) for c in cuts):
            cuts.append(cut_of_body(source, node))
    if whole_cell and not by_markers:
        cuts += cuts_of_answer(source, tree)
    return sorted(cuts, key=lambda cut: cut.first)


def cuts_of_answer(source: str, tree: ast.Module) -> list[Cut]:
    """Signatures (of methods, too), docstrings and imports stay; everything else of an answer goes.

    Where nothing is left, a line says where to write.
    """
    lines = source.splitlines()
    cuts: list[Cut] = []
    kept: set[int] = set()

    def keep(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                cut = cut_of_body(source, node)
                cuts.append(cut)
                kept.update(range(first_line(node), cut.last + 1))
            elif isinstance(node, ast.ClassDef):
                kept.update(range(first_line(node), node.body[0].lineno))
                if ast.get_docstring(node, clean=False) is not None:
                    kept.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
                keep(node.body)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                kept.update(range(node.lineno, node.end_lineno + 1))

    keep(tree.body)
    if any(isinstance(node, ast.ClassDef) and not any(
            node.lineno < cut.first <= node.end_lineno for cut in cuts) for node in tree.body):
        return [Cut(1, len(lines), YOUR_CODE)]  # a class without methods: nothing to keep
    number, placed = 1, bool(cuts)
    while number <= len(lines):
        if number in kept or not lines[number - 1].strip():
            number += 1
            continue
        last = number
        while last < len(lines) and last + 1 not in kept:
            last += 1
        while not lines[last - 1].strip():
            last -= 1
        cuts.append(Cut(number, last, "" if placed else YOUR_CODE))
        placed, number = True, last + 1
    return cuts


def applied(source: str, cuts: list[Cut]) -> str:
    """A cell's source with something else in the place of the lines that are cut."""
    lines = source.splitlines()
    for cut in sorted(cuts, key=lambda cut: cut.first, reverse=True):
        lines[cut.first - 1 : cut.last] = [cut.instead] if cut.instead else []
    text = "\n".join(lines).strip("\n")
    try:
        parsed(text)
    except ValueError as error:
        raise ValueError(f"what is left of it is no Python ({error})") from None
    return re.sub(r"\n{4,}", "\n\n\n", text)


def prediction_spans(source: str) -> list[tuple[int, int]]:
    """Where in a cell (in bytes) stands what is predicted: all arguments of `predict` but a name.

    Keywords stay, unless they are called answer or value: they say what may be chosen.
    """
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    spans = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else (
                node.func.id if isinstance(node.func, ast.Name) else ""
            )
            if called != "predict":
                continue
            told = node.args[1:]
            told += [k.value for k in node.keywords if k.arg in ("answer", "value", "prediction")]
            for part in told:
                begin = starts[part.lineno - 1] + part.col_offset
                spans.append((begin, starts[part.end_lineno - 1] + part.end_col_offset))
    if not spans:
        raise ValueError("it is tagged predict and calls predict with no prediction")
    return sorted(spans)


def without_predictions(source: str) -> str:
    content = source.encode()
    for begin, end in reversed(prediction_spans(source)):
        content = content[:begin] + b"..." + content[end:]
    return content.decode()


def hidden_text(cell: nbformat.NotebookNode) -> list[str]:
    """The lines of a cell that a learner must not see before having written them."""
    kinds = kinds_of(cell)
    if not kinds & {"exercise", "answer"} or kinds & DROPPED:
        return []
    lines = cell.source.splitlines()
    if cell.cell_type != "code":
        return lines
    hidden = []
    for cut in cuts_of_exercise(cell.source, names_of(cell, "exercise"), "answer" in kinds):
        inner = lines[cut.first : cut.last - 1] if cut.markers else lines[cut.first - 1 : cut.last]
        hidden += inner
    return hidden


def learners_source(cell: nbformat.NotebookNode) -> str:
    """A cell's source as the learner sees it. Raises ValueError where the marks can't be."""
    kinds = kinds_of(cell)
    if cell.cell_type != "code":
        return YOUR_ANSWER if "answer" in kinds else cell.source
    source = cell.source
    if kinds & {"exercise", "answer"}:
        names = names_of(cell, "exercise")
        source = applied(source, cuts_of_exercise(source, names, "answer" in kinds))
    elif re.search(r"(?m)^\s*#+\s*(BEGIN|END) SOLUTION|# SOLUTION\s*$", source):
        raise ValueError("it holds a solution and is tagged neither exercise:NAME nor answer")
    return without_predictions(source) if "predict" in kinds else source


# ── A notebook ────────────────────────────────────────────────────────────────────────────────────


def number_of(path: Path) -> str:
    """03a of 03a_backprop.ipynb."""
    return path.name.split("_")[0].removesuffix(".ipynb")


def with_twin_line(source: str, line: str) -> str:
    """A notebook's first cell with the line about the other edition below its title."""
    lines = [one for one in source.splitlines() if not one.startswith(TWIN)]
    title = next((i for i, one in enumerate(lines) if one.startswith("# ")), None)
    if title is None:
        raise ValueError("the first cell does not begin with the title")
    rest = lines[title + 1 :]
    while rest and not rest[0].strip():
        rest.pop(0)
    return "\n".join([*lines[: title + 1], "", f"{TWIN}{line}", "", *rest]).rstrip("\n")


def finished_twin_line(name: str) -> str:
    return (
        "*This is the finished edition. To write the code yourself, open the "
        f"[learner's edition]({LEARN}/{name}).*"
    )


def learners_twin_line(name: str) -> str:
    return (
        "*This is the learner's edition: you write the code, and each check says how it went. "
        f"The [finished edition](../{name}) has all of it. `make start` gives you a copy to work "
        "in.*"
    )


def relinked(source: str, move: Callable[[str], str]) -> str:
    """A Markdown text whose relative links and pictures are moved; code in it is left alone."""
    parts = re.split(r"(?s)(```.*?```|`[^`\n]*`)", source)

    def moved(match: re.Match[str]) -> str:
        here = match[2]
        return match[0] if ELSEWHERE.match(here) else match[1] + move(here)

    # A link's text may hold code, so that its address begins a part: the pattern allows for that.
    return "".join(p if i % 2 else LINK.sub(moved, p) for i, p in enumerate(parts))


def to_learn(learners: set[str]) -> Callable[[str], str]:
    """How a link of notebooks/ is written in notebooks/learn/: twins link to one another."""

    def move(link: str) -> str:
        name, mark, fragment = link.partition("#")
        if name in learners:
            return link
        return posixpath.normpath(posixpath.join("..", name)) + mark + fragment

    return move


def digest_of(notebook: nbformat.NotebookNode) -> str:
    """What changes when somebody writes in a notebook or runs it, and not when an editor saves."""
    content = [
        [c.cell_type, c.source, tags_of(c), c.get("attachments", {}), c.get("outputs", [])]
        for c in notebook.cells
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Twin:
    """The learner's edition of one notebook, and the picture that opens it."""

    name: str
    text: str
    picture: bytes | None


def opening_picture(page: Page) -> tuple[bytes, str] | None:
    """The picture in the output of the cell tagged `cover`, and its alternative text."""
    for cell in notebook_rules.tagged(page, "cover"):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                content = base64.b64decode("".join(output.data["image/png"].split()))
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                return content, " ".join(alt.split())
    return None


def learners_notebook(page: Page, learners: set[str]) -> Twin:
    """A notebook's learner's edition. Raises BadMark, which names the notebook and the cell.

    learners : the names of all notebooks that have such an edition
    """
    move, cells = to_learn(learners), []
    for position, original in enumerate(page.notebook.cells):
        kinds = kinds_of(original)
        where = f"{page.path.name}, cell {position + 1}"
        where += f" ({', '.join(tags_of(original))})" if kinds else ""
        if kinds & DROPPED:
            if kinds & (BLANKED | {"check"}):
                raise BadMark(f"{where}: it can't be dropped and be something else, too")
            continue
        cell = copy.deepcopy(original)
        try:
            for tag in tags_of(original):
                kind, _, name = tag.partition(":")
                if kind in ("exercise", "check", "predict") and not name:
                    raise ValueError(f"the tag {tag} names nothing: write {kind}:NAME")
            cell.source = learners_source(original)
        except ValueError as error:
            raise BadMark(f"{where}: {error}") from None
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = relinked(cell.source, move)
        tags = [tag for tag in tags_of(original) if tag != COMPARED]
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        cells.append(cell)
    if not cells or cells[0].cell_type != "markdown":
        raise BadMark(f"{page.path.name}, cell 1: it does not begin with the title")
    name = page.path.name
    try:
        cells[0].source = with_twin_line(cells[0].source, learners_twin_line(name))
    except ValueError as error:
        raise BadMark(f"{name}, cell 1: {error}") from None
    badge = badge_line(repository_address(), f"{LEARN}/{name}")
    cells[0].source = re.sub(rf"{BADGE}.*", lambda _: badge, cells[0].source)
    picture = opening_picture(page)
    if picture:
        words = re.sub(r"([\[\]\\])", r"\\\1", picture[1])  # a bracket would end the text
        image = f"![{words}](pictures/{number_of(page.path)}.png)"
        cells.insert(1, new_markdown_cell(image, id="opening-picture"))
    notebook = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    notebook.nbformat_minor = page.notebook.nbformat_minor
    notebook.metadata["workbook"] = {"edition": "learner", "digest": digest_of(notebook)}
    return Twin(name, nbformat.writes(notebook) + "\n", picture and picture[0])


def sources(folder: Path) -> list[Page]:
    """The notebooks in a folder that carry at least one mark."""
    pages = [Page.read(path) for path in sorted(folder.glob("*.ipynb"))]
    return [page for page in pages if marked(page.notebook)]


def twins(folder: Path) -> list[Twin]:
    """The learner's edition of a folder of notebooks, in memory."""
    pages = sources(folder)
    learners = {page.path.name for page in pages}
    return [learners_notebook(page, learners) for page in pages]


def filled(page: Page, twin: Twin) -> Twin:
    """A learner's notebook with the solutions written in: what tests run with WORKBOOK_STRICT=1."""
    notebook = nbformat.reads(twin.text, as_version=4)
    originals = {cell.id: cell for cell in page.notebook.cells}
    for cell in notebook.cells:
        if kinds_of(cell) & BLANKED:
            cell.source = originals[cell.id].source
    return Twin(twin.name, nbformat.writes(notebook) + "\n", None)


def write_filled(folder: Path, target: Path) -> list[Path]:
    """Write the learner's edition, with the solutions written in, to another folder."""
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for page, twin in zip(sources(folder), twins(folder), strict=True):
        paths.append(target / twin.name)
        write_whole(paths[-1], filled(page, twin).text)
    return paths


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


def written_in(path: Path) -> bool:
    """Whether a notebook in learn/ is not as the generator left it."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return notebook.metadata["workbook"]["digest"] != digest_of(notebook)
    except Exception:  # whatever it is, the generator did not make it
        return True


def expected_files(folder: Path) -> dict[Path, bytes]:
    """What learn/ should hold."""
    files = {}
    for twin in twins(folder):
        files[folder / LEARN / twin.name] = twin.text.encode()
        if twin.picture:
            picture = folder / LEARN / "pictures" / f"{number_of(Path(twin.name))}.png"
            files[picture] = twin.picture
    return files


def found_files(folder: Path) -> set[Path]:
    learn = folder / LEARN
    return {*learn.glob("*.ipynb"), *learn.glob("pictures/*.png")}


def with_links_to_learn(folder: Path) -> dict[Path, str]:
    """The finished notebooks whose line about their twin is missing, or is there without one."""
    changed = {}
    for path in sorted(folder.glob("*.ipynb")):
        page = Page.read(path)
        cells = page.notebook.cells
        if not cells or cells[0].cell_type != "markdown":
            continue
        if marked(page.notebook):
            wanted = with_twin_line(cells[0].source, finished_twin_line(path.name))
        elif TWIN in cells[0].source:
            wanted = re.sub(rf"{TWIN}.*\n\n?", "", cells[0].source)
        else:
            continue
        if cells[0].source != wanted:
            cells[0].source = wanted
            changed[path] = nbformat.writes(page.notebook) + "\n"
    return changed


def learn(folder: Path) -> int:
    """Write notebooks/learn/ and the line in each finished notebook that leads there."""
    try:
        files, stamped = expected_files(folder), with_links_to_learn(folder)
        found = leaks(folder, [Twin(p.name, c.decode(), None) for p, c in files.items()
                               if p.suffix == ".ipynb"])
    except BadMark as error:
        print(error, file=sys.stderr)
        return 1
    if found:
        print(*found, "Nothing was written.", sep="\n", file=sys.stderr)
        return 1
    there = found_files(folder)
    kept = [p for p in sorted(there) if p.suffix == ".ipynb" and written_in(p)]
    if kept:
        print(
            f"Somebody wrote in {', '.join(path.name for path in kept)} in {folder / LEARN}, which "
            "is generated. Move what is yours to notebooks/mine/, or delete it. Nothing was "
            "written.",
            file=sys.stderr,
        )
        return 1
    (folder / LEARN / "pictures").mkdir(parents=True, exist_ok=True)
    for path, text in stamped.items():
        write_whole(path, text)
    changed = [p for p, content in files.items() if not p.exists() or p.read_bytes() != content]
    for path in changed:
        temporary = path.with_suffix(".part")
        temporary.write_bytes(files[path])
        os.replace(temporary, path)
    gone = sorted(there - files.keys())
    for path in gone:
        path.unlink()
    notebooks = sum(path.suffix == ".ipynb" for path in files)
    print(f"{notebooks} notebooks in {folder / LEARN}, {len(changed) + len(gone)} files changed")
    return 0


def stale(folder: Path) -> list[str]:
    """What `make learn` would change, one sentence each; for lint, which writes nothing."""
    try:
        files, stamped = expected_files(folder), with_links_to_learn(folder)
    except BadMark as error:
        return [str(error)]
    there = found_files(folder)
    wrong = [f"{path.name} does not say where its learner's edition is" for path in stamped]
    for path in sorted(files.keys() | there):
        name = path.relative_to(folder).as_posix()
        if path not in files:
            wrong.append(f"{name} is made from no notebook")
        elif path not in there:
            wrong.append(f"{name} is missing")
        elif path.read_bytes() != files[path]:
            wrong.append(f"{name} is not what is made from {path.name}")
    return [f"{line}: run `make learn`" for line in wrong]


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with the learner's edition; what `make lint` prints."""
    wrong = stale(folder)
    if wrong:
        return wrong
    wrong = leaks(folder)
    for path in sorted((folder / LEARN).glob("*.ipynb")):
        page = Page.read(path)
        if page.outputs or any(cell.execution_count is not None for cell in page.code):
            wrong.append(f"{path.name} has outputs")
        wrong += [f"{LEARN}/{path.name}: {line}" for rule in RULES for line in rule(page)]
    return wrong


def start(folder: Path) -> int:
    """Copy the learner's edition to notebooks/mine/; a file that is there is never touched."""
    learn_folder, mine = folder / LEARN, folder / MINE
    paths = sorted(learn_folder.glob("*.ipynb"))
    if not paths:
        print(f"There is no notebook in {learn_folder}: run `make learn` first.", file=sys.stderr)
        return 1
    mine.mkdir(exist_ok=True)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        made_from = notebook.metadata["workbook"]["digest"]
        target = mine / path.name
        text = nbformat.writes(mine_of(notebook)) + "\n"
        try:
            with open(target, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            print(f"new        {target}")
        except FileExistsError:
            try:
                metadata = json.loads(target.read_text(encoding="utf-8"))["metadata"]
                known = metadata["workbook"]["digest"]
            except Exception:
                known = None
            if known == made_from:
                print(f"as it was  {target}")
            else:
                print(f"as it was  {target}: a newer one is in {path}, yours was left alone")
    return 0


def mine_of(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A learner's notebook for notebooks/mine/, a folder beside learn/ that git ignores."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # a new picture reaches a reader who has begun
            cell.source = relinked(
                cell.source,
                lambda link: f"../{LEARN}/{link}" if link.startswith("pictures/") else link,
            )
    first = notebook.cells[0]  # the badge opens the original, not what is written here
    first.source = re.sub(rf"{BADGE}.*\n*", "", first.source)
    first.source = first.source.replace(" `make start` gives you a copy to work in.", "")
    return notebook


# ── Leaks ─────────────────────────────────────────────────────────────────────────────────────────


def squeezed(text: str) -> str:
    return " ".join(text.split())


def solution_lines(folder: Path) -> dict[str, str]:
    """Every line of a solution that is long enough to give it away -> where it is from."""
    lines: dict[str, str] = {}
    for page in sources(folder):
        for position, cell in enumerate(page.notebook.cells):
            for line in hidden_text(cell):
                line = squeezed(line)
                if len(line) >= SHORTEST_LEAK:
                    lines.setdefault(line, f"{page.path.name}, cell {position + 1}")
    return lines


def leaks_in(text: str, lines: dict[str, str], where: str) -> list[str]:
    """The solution lines that occur in a text, however they are spaced."""
    text = squeezed(text)
    return [
        f"{where} gives away a line of {source}: {line}"
        for line, source in lines.items()
        if line in text
    ]


def leaks(folder: Path, notebooks: list[Twin] | None = None) -> list[str]:
    """Lines of a solution that occur in a source or in metadata of learn/, in any notebook."""
    if notebooks is None:
        paths = sorted((folder / LEARN).glob("*.ipynb"))
        notebooks = [Twin(path.name, path.read_text(encoding="utf-8"), None) for path in paths]
    lines, wrong = solution_lines(folder), []
    for twin in notebooks:
        notebook = nbformat.reads(twin.text, as_version=4)
        for position, cell in enumerate(notebook.cells):
            where = f"{LEARN}/{twin.name}, cell {position + 1},"
            # Every line by itself: two lines that meet are no line of a solution.
            for line in cell.source.splitlines():
                wrong += leaks_in(line, lines, where)
            wrong += leaks_in(json.dumps(cell.metadata, ensure_ascii=False), lines, where)
        metadata = json.dumps(notebook.metadata, ensure_ascii=False)
        wrong += leaks_in(metadata, lines, f"{LEARN}/{twin.name}")
    return sorted(set(wrong))
