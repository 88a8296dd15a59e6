"""Grading: what is picked from a submission, what survives, and how many points there are."""

from __future__ import annotations

import csv
import json
import random
import shutil
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

import grade
import learn
from grade import Cell, Graded

# A made-up project: three exercises and a judge that compares them with ours on one array.
EXERCISES = '''
from types import SimpleNamespace
import numpy as np

def relu(z):
    return np.maximum(z, 0)

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def forward(x, W):
    return softmax(x @ W)

CATALOGUE = {
    name: SimpleNamespace(name=name, notebook=notebook, section="A section", points=points,
                          answer=answer)
    for name, notebook, points, answer in (
        ("relu", "02", 1, relu), ("softmax", "02", 3, softmax), ("forward", "03a", 4, forward))
}
'''
CHECKS = '''
from collections import namedtuple
import numpy as np
import exercises

Verdict = namedtuple("Verdict", "status mistakes message")

def judge(name, function, seed=0):
    rng = np.random.default_rng(seed)
    z, W = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    arguments = (z, W) if name == "forward" else (z,)
    ours = exercises.CATALOGUE[name].answer(*arguments)
    try:
        theirs = function(*arguments)
    except NotImplementedError:
        return Verdict("blank", (), "Not written yet.")
    except Exception as error:
        return Verdict("crash", (), f"{type(error).__name__}: {error}")
    if np.shape(theirs) != ours.shape:
        return Verdict("shape", (), "Another shape.")
    if np.allclose(theirs, ours):
        return Verdict("right", (), "Well done.")
    if np.allclose(theirs, -ours):
        return Verdict("known", ("sign turned",), "The sign is turned.")
    return Verdict("wrong", (), "Something differs.")
'''
LISTED = [
    Graded("relu", "02", "A section", 1),
    Graded("softmax", "02", "A section", 3),
    Graded("forward", "03a", "A section", 4),
]

RELU = "def relu(z):\n    return np.maximum(z, 0)"
BLANK_RELU = 'def relu(z):\n    """max(z, 0)"""\n    raise NotImplementedError'
SOFTMAX = """\
def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)"""
FORWARD = "def forward(x, W):\n    return softmax(x @ W)"
IMPORTS = "import numpy as np\nimport not_installed_anywhere\nfrom helpers import train"
EXPERIMENT = "open('experiment-ran', 'w').close()\n1 / 0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "exercises.py").write_text(EXERCISES)
    (folder / "checks.py").write_text(CHECKS)
    return folder


def notebook(*sources: str) -> str:
    cells = [
        {"cell_type": "code", "id": str(i), "metadata": {}, "outputs": [], "source": source,
         "execution_count": None}
        for i, source in enumerate(sources)
    ]  # fmt: skip
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def submission(folder: Path, **files: str) -> Path:
    """A folder with a notebook for each name: two='…' is 02_two.ipynb, three='…' 03a_three.ipynb"""
    names = {"two": "02_two.ipynb", "three": "03a_three.ipynb", "other": "other.py"}
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / names[name]).write_text(content, encoding="utf-8")
    return folder


def finished(folder: Path) -> Path:
    return submission(
        folder,
        two=notebook(IMPORTS, RELU, SOFTMAX, 'softmax = check("softmax", softmax)', EXPERIMENT),
        three=notebook("import numpy as np", FORWARD, EXPERIMENT),
    )


def read(folder: Path) -> grade.Submission:
    return grade.read_submission(folder)


def picks(source: str) -> list[str]:
    import ast

    trees, _ = grade.trees_of(Cell("02.ipynb", 1, source))
    return [ast.unparse(node) for tree in trees for node in grade.picked(tree.body)]


def graded(path: Path, project: Path, exercises: list[Graded] = LISTED) -> grade.Result:
    return grade.grade_one(path, exercises, seed=3, project=project)


def statuses(result: grade.Result) -> list[str]:
    return [result.verdicts[e.name]["status"] for e in LISTED if e.name in result.verdicts]


# ── What is picked ────────────────────────────────────────────────────────────────────────────────


def test_imports_constants_and_definitions_are_picked_and_nothing_else():
    source = """\
    from __future__ import annotations
    import numpy as np
    EPSILON = 1e-8
    LOW, HIGH = -np.inf, np.finfo(np.float64).max
    square = lambda v: v ** 2
    network = train(data)
    data = np.load("data.npz")
    for step in range(10):
        w = step
    print("hello")
    fast = np.exp
    @njit
    @np.vectorize
    def f(x: Array, rng=np.random.default_rng(0), n: int = 3) -> Array:
        return x
    class Layer(object):
        size = 3
        weights = train(data)
        def __call__(self):
            return 1
    """
    assert picks(textwrap.dedent(source)) == [
        "import numpy as np",
        "EPSILON = 1e-08",
        "LOW, HIGH = (-np.inf, np.finfo(np.float64).max)",
        "square = lambda v: v ** 2",
        "fast = np.exp",
        "@njit\n@np.vectorize\ndef f(x, rng=None, n=3):\n    return x",
        "class Layer(object):\n    size = 3\n\n    def __call__(self):\n        return 1",
    ]


def test_definitions_in_a_condition_are_picked():
    source = "try:\n    import numba\nexcept ImportError:\n    numba = None\n    print(1)"
    assert picks(source) == ["try:\n    import numba\nexcept ImportError:\n    numba = None"]
    assert picks("if numba is None:\n    def f():\n        return 1\n    f()") == [
        "if numba is None:\n\n    def f():\n        return 1"
    ]
    assert picks("if download():\n    def f():\n        return 1") == []


def test_ipythons_own_lines_and_other_languages_are_passed_over():
    assert picks("%%time\n!pip install x\n%matplotlib inline\nnp.exp?\nK = 3") == ["K = 3"]
    assert picks("%%bash\nK=3") == []


def test_a_syntax_error_costs_one_definition_not_the_cell(tmp_path):
    broken = "def broken(:\n    pass"
    cell = f"import numpy as np\n{RELU}\n\n{broken}\n\n@np.vectorize\ndef g(x):\n    return x"
    found = read(submission(tmp_path / "s", two=notebook(cell)))
    assert [sorted(item.binds) for item in found.items] == [["np"], ["relu"], ["g"]]
    assert found.items[-1].node.lineno == 9
    assert found.remarks == ["02_two.ipynb, cell 1: line 5 is no Python"]


def test_the_last_written_definition_of_the_notebook_counts(tmp_path):
    def body(path: Path) -> str:
        item = grade.graded_definition(read(path), "relu", "02")
        return item.place if item else ""

    one, two = RELU, RELU.replace("0)", "1)")
    twice = submission(tmp_path / "a", two=notebook(one, two))
    assert body(twice) == "02_two.ipynb, cell 2, line 1"
    assert body(submission(tmp_path / "b", two=notebook(one, BLANK_RELU, "def relu(:"))) == (
        "02_two.ipynb, cell 1, line 1"
    )
    elsewhere = submission(tmp_path / "c", two=notebook(one), three=notebook(two), other=two)
    assert body(elsewhere) == "02_two.ipynb, cell 1, line 1"
    moved = submission(tmp_path / "d", two=notebook(BLANK_RELU), three=notebook(two))
    assert body(moved) == "03a_three.ipynb, cell 1, line 1"
    alias = notebook("def mine(z):\n    return z", 'relu = check("relu", mine)')
    assert body(submission(tmp_path / "e", two=alias)) == "02_two.ipynb, cell 2, line 1"
    number = notebook(one, "relu = 0.5", "relu = total / n", "relu = best")
    assert body(submission(tmp_path / "f", two=number)) == "02_two.ipynb, cell 1, line 1"
    assert body(submission(tmp_path / "g", two=notebook("from x import relu"))) == ""


def test_notebooks_of_any_version_and_in_ruins_are_read(tmp_path):
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": [RELU]}]}], "nbformat": 3}
    assert grade.cells_of_notebook(json.dumps(old).encode()) == ([RELU], "")
    half = notebook("a = 1", RELU, "b = 2")[:-90].encode("utf-8-sig")
    sources, complaint = grade.cells_of_notebook(half)
    assert RELU in sources and "is no notebook" in complaint
    assert grade.cells_of_notebook(b"\x00\xff no notebook")[0] == []
    assert grade.cells_of_notebook(b"[1, 2]")[0] == []
    assert grade.cells_of_notebook(b"[" * 100_000)[0] == []


def test_ours_are_never_taken_for_the_readers(tmp_path):
    folder = submission(tmp_path / "s", two=notebook("from helpers import softmax"))
    copied = '"""The Backprop Workbook\'s one module: a network"""\ndef softmax(z): return z'
    for name in ("helpers.py", "tests/test_x.py", ".venv/a.py", "helpers (1).py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(copied)
    assert grade.candidates(read(folder), "softmax") == []


def test_of_a_whole_project_only_the_readers_folder_counts(tmp_path):
    folder = submission(tmp_path / "s", two=notebook(RELU))
    submission(folder / "notebooks" / "mine", two=notebook(BLANK_RELU))
    assert len(read(folder).items) == 1 and read(folder).items[0].blank


def test_an_archive_is_a_submission(tmp_path):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w") as archive:
        archive.writestr("work/02_two.ipynb", notebook(RELU))
        archive.writestr("__MACOSX/work/._02_two.ipynb", b"\x00")
    assert [sorted(item.binds) for item in read(tmp_path / "ada.zip").items] == [["relu"]]


# ── Points ────────────────────────────────────────────────────────────────────────────────────────


def test_the_finished_edition_has_all_points_and_an_empty_one_none(tmp_path, project):
    assert graded(finished(tmp_path / "all"), project).total(LISTED) == 8
    blank = submission(
        tmp_path / "blank",
        two=notebook("import numpy as np\nfrom helpers import softmax", BLANK_RELU),
        three=notebook("import numpy as np\nfrom exercises import forward"),
    )
    result = graded(blank, project)
    assert result.total(LISTED) == 0 and statuses(result) == ["blank", "blank", "blank"]


def test_experiments_never_run(tmp_path, project):
    source = EXPERIMENT.replace("'experiment-ran'", repr(str(tmp_path / "experiment-ran")))
    path = submission(tmp_path / "s", two=notebook(source, "import numpy as np", RELU))
    assert statuses(graded(path, project))[0] == "right"
    assert not (tmp_path / "experiment-ran").exists()


def test_cells_and_files_may_be_in_any_order_and_place(tmp_path, project):
    moved = submission(
        tmp_path / "s",
        two=notebook(FORWARD, FORWARD, 'relu = check("relu", my_relu)', "# all the rest is gone"),
        three=notebook(SOFTMAX, RELU.replace("relu", "my_relu"), BLANK_RELU, "import numpy as np"),
    )
    assert graded(moved, project).total(LISTED) == 8


def test_functions_may_be_in_a_module(tmp_path, project):
    moved = submission(
        tmp_path / "s",
        other=f"import numpy as np\nprint('no experiment')\n{SOFTMAX}\n{RELU}",
        three=notebook("import other\nfrom other import softmax", FORWARD),
        two=notebook("import other\ndef relu(z):\n    return other.relu(z)"),
    )
    assert graded(moved, project).total(LISTED) == 8


def test_a_mistake_costs_its_marks_once(tmp_path, project):
    wrong = "import numpy as np\ndef softmax(z):\n    return -np.exp(z)"
    path = submission(tmp_path / "s", two=notebook(wrong), three=notebook(FORWARD))
    result = graded(path, project)
    assert statuses(result) == ["blank", "wrong", "right"]
    assert "our softmax stands in" in result.verdicts["forward"]["message"]


# ── What submissions do ───────────────────────────────────────────────────────────────────────────

# What `relu` does -> the verdict; the other two exercises are right all the same.
ODD = {
    "sys.exit()": "ended",
    "raise SystemExit": "ended",
    "os._exit(0)": "ended",
    "os.kill(os.getpid(), 11)": "ended",
    "return relu(z)": "crash",
    "return [0] * 10**13": "crash",
    "np.exp = np.tanh\n    return np.exp(z)": "meddles",
    "import checks\n    checks.judge = None\n    return z": "wrong",
    "import exercises\n    return exercises.relu(z)": "crash",
    "[os.fork() for _ in range(3)]\n    return np.maximum(z, 0)": "right",
    "print('x' * 10**7)\n    return np.maximum(z, 0)": "right",
    "np.seterr(all='raise')\n    return np.maximum(z, 0)": "right",
    "os.chdir('/')\n    input()": "crash",
    "threading.Thread(target=time.sleep, args=(99,)).start()\n    return -np.maximum(z, 0)": (
        "known"
    ),
    "return np.maximum(z, 0)\n\n@njit\ndef unused(): pass": "right",
}


@pytest.mark.parametrize("body", ODD)
def test_whatever_one_function_does_the_others_are_judged(tmp_path, project, body):
    odd = f"import os, sys, threading, time\nimport numpy as np\n@njit\ndef relu(z):\n    {body}"
    path = submission(tmp_path / "s", two=notebook(odd, SOFTMAX), three=notebook(FORWARD))
    assert statuses(graded(path, project)) == [ODD[body], "right", "right"]


def test_an_endless_loop_costs_one_exercise(tmp_path, project, monkeypatch):
    monkeypatch.setattr(grade, "PROCESSOR_SECONDS", 0.2)
    odd = "import numpy as np\ndef relu(z):\n    while True:\n        pass"
    path = submission(tmp_path / "s", two=notebook(odd, SOFTMAX), three=notebook(FORWARD))
    assert statuses(graded(path, project)) == ["time", "right", "right"]


def test_ten_endless_loops_are_stopped_sooner(tmp_path, project, monkeypatch):
    seconds = []

    def stopped(job, *_):
        seconds.append(job["seconds"])
        return job["todo"][0]["name"], "time"

    monkeypatch.setattr(grade, "run_worker", stopped)
    many = [Graded(f"f{i}", "02", "A section", 1) for i in range(6)]
    result = graded(submission(tmp_path / "s", two=notebook("1")), project, many)
    assert seconds == [grade.PROCESSOR_SECONDS] * 3 + [grade.SHORT_SECONDS] * 3
    assert {verdict["status"] for verdict in result.verdicts.values()} == {"time"}


def test_a_function_that_waits_is_stopped(tmp_path, project, monkeypatch):
    monkeypatch.setattr(grade, "WALL_SECONDS", 3.0)
    odd = "import time\nimport numpy as np\ndef relu(z):\n    time.sleep(60)"
    path = submission(tmp_path / "s", two=notebook(odd, SOFTMAX), three=notebook(FORWARD))
    assert statuses(graded(path, project)) == ["time", "right", "right"]


# ── A class ───────────────────────────────────────────────────────────────────────────────────────


def test_a_class_is_graded_without_help(tmp_path, project, capsys):
    folder = tmp_path / "class"
    finished(folder / "ada")
    submission(folder / "=bob", two=notebook(IMPORTS, RELU.replace("return", "return -")))
    (folder / "carl.ipynb").write_text("this is no JSON")
    submission(folder / "dora", two=notebook("import sys\ndef relu(z):\n    sys.exit()"))
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("no submission")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert grade.grade(folder, seed=7, output=tmp_path / "out", project=project, workers=2) == 0
    with open(tmp_path / "out/points.csv", encoding="utf-8") as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    assert [rows[name]["total"] for name in ("ada", "'=bob", "carl.ipynb", "dora", "empty")] == [
        "8", "0", "0", "0", "0",
    ]  # fmt: skip
    assert rows["ada"]["softmax"] == "3" and rows["ada"]["of"] == "8" and rows["ada"]["seed"] == "7"
    assert "is no notebook" in rows["carl.ipynb"]["remarks"]
    with open(tmp_path / "out/class.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert {"sign turned"} == {row["mistake"] for row in table} - {""}
    pages = {path.name for path in (tmp_path / "out/feedback").iterdir()}
    assert pages == {"ada.html", "_bob.html", "carl.ipynb.html", "dora.html", "empty.html"}
    assert "The sign is turned." in (tmp_path / "out/feedback/_bob.html").read_text("utf-8")
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert "seed 7" in capsys.readouterr().out


def test_another_seed_gives_other_cases(tmp_path, project):
    path = submission(tmp_path / "s", two=notebook("def relu(z):\n    return z * 0 + 0.25"))
    assert statuses(graded(path, project))[0] == "wrong"
    assert grade.exercises_of(project) == LISTED


def test_points_of_some_notebooks_alone(tmp_path, project):
    finished(tmp_path / "class" / "ada")
    grade.grade(tmp_path / "class", 1, tmp_path / "out", project, notebooks=["02"])
    text = (tmp_path / "out/points.csv").read_text("utf-8")
    assert text.splitlines()[0] == "submission,relu,softmax,total,of,seed,remarks"
    assert text.splitlines()[1] == "ada,1,3,4,4,1,"


# ── The real catalogue ────────────────────────────────────────────────────────────────────────────

# Mistakes as a reader's text has them: what is replaced, and by what.
SLIPS = (
    (".T", ""), (" / len(p)", ""), ("axis=1", "axis=0"), ("1 - ", "1 + "), (" - ", " + "),
    ("keepdims=True", "keepdims=False"), ("return -", "return "), (" / n", ""), ("beta1", "beta2"),
)  # fmt: skip


def made_up_class(folder: Path, catalogue: dict, size: int, seed: int) -> None:
    """Submissions as they come in: mostly right, with slips, gaps, accidents and damaged files."""
    from marked_notebooks import file_name, solved

    rng = random.Random(seed)
    for student in range(size):
        cells: dict[str, list[str]] = {}
        skill = rng.random()
        for exercise in catalogue.values():
            source = solved(exercise.answer)
            dice = rng.random()
            if dice > 0.4 + 0.6 * skill:
                slips = [slip for slip in SLIPS if slip[0] in source]
                source = source.replace(*rng.choice(slips)) if slips else source
            elif dice > 0.35 + 0.6 * skill:
                source = source.split("    # BEGIN")[0] + "    raise NotImplementedError"
            cells.setdefault(exercise.notebook, ["import numpy as np"]).append(source)
        sources = [source for some in cells.values() for source in some]
        accident = student % 10
        if accident == 1:  # an endless loop, or two
            name = rng.choice(list(catalogue))
            loop = f"def {name}(*arguments):\n    while True:\n        pass"
            cells[catalogue[name].notebook].append(loop)
        elif accident == 2:
            cells["02"].append("def relu(z):\n    sys.exit()")
            cells["02"].append("import sys")
        elif accident == 3:
            cells["02"] = cells["02"] * 2
            rng.shuffle(cells["02"])
        elif accident == 4:
            cells = {"02": sources}  # everything in one notebook
        place = folder / f"student_{student:03d}"
        place.mkdir(parents=True)
        for number, some in cells.items():
            text = notebook(*some)
            if accident == 5 and number == "03":
                text = text[: len(text) // 2]
            (place / file_name(number)).write_text(text, encoding="utf-8")


def where_the_catalogue_is() -> Path:
    import exercises

    return Path(exercises.__file__).resolve().parent


@pytest.fixture(scope="module")
def catalogue() -> dict:
    exercises = pytest.importorskip("exercises", reason="the catalogue is not here yet")
    return exercises.CATALOGUE


@pytest.mark.slow
def test_every_notebook_of_the_catalogue_has_all_points_when_solved_and_none_when_blank(
    tmp_path, catalogue
):
    from marked_notebooks import finished_notebooks

    finished_notebooks(tmp_path / "finished", catalogue)
    assert learn.learn(tmp_path / "finished") == 0
    shutil.move(tmp_path / "finished/learn", tmp_path / "blank")
    project = where_the_catalogue_is()
    listed = grade.exercises_of(project)
    finished_result = grade.grade_one(tmp_path / "finished", listed, 11, project)
    assert finished_result.total(listed) == sum(e.points for e in listed)
    assert grade.grade_one(tmp_path / "blank", listed, 11, project).total(listed) == 0


@pytest.mark.slow
def test_a_hundred_submissions_are_graded_in_minutes(tmp_path, catalogue):
    made_up_class(tmp_path / "class", catalogue, 100, seed=5)
    started = time.perf_counter()
    project = where_the_catalogue_is()
    assert grade.grade(tmp_path / "class", 7, tmp_path / "out", project, workers=2) == 0
    assert time.perf_counter() - started < 15 * 60
    with open(tmp_path / "out/points.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100 and not any("failed" in row["remarks"] for row in rows)
    assert all(float(row["total"]) > 0 for row in rows)


def test_the_committed_editions_have_all_points_and_none(tmp_path, catalogue):
    held = {name for page in learn.sources(grade.ROOT / "notebooks")
            for cell in page.notebook.cells for name in learn.names_of(cell, "exercise")}
    if not held:
        pytest.skip("no notebook holds an exercise yet")
    for edition, folder in (("finished", "notebooks"), ("learn", "notebooks/learn")):
        (tmp_path / edition).mkdir()
        for path in (grade.ROOT / folder).glob("*.ipynb"):
            shutil.copy(path, tmp_path / edition)
    project = where_the_catalogue_is()
    listed = [e for e in grade.exercises_of(project) if e.name in held]
    result = grade.grade_one(tmp_path / "finished", listed, 11, project)
    assert {e.name for e in listed if not result.points(e)} == set()
    assert grade.grade_one(tmp_path / "learn", listed, 11, project).total(listed) == 0
