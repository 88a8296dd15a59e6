"""The learner's edition: what the generator leaves of a notebook, and what it never touches."""

from __future__ import annotations

import ast
import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import learn
from learn import BadMark
from notebook_rules import BADGE, SETUP_CELL

PIXEL = base64.b64encode(b"\x89PNG not really, but the bytes are what counts").decode()

SOFTMAX = '''\
def softmax(z):  # (n, K)
    """Probabilities of the logits, row by row."""
    # BEGIN SOLUTION
    # the largest logit is subtracted, or the exponential overflows
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
    # END SOLUTION'''
STUB = '''\
def softmax(z):  # (n, K)
    """Probabilities of the logits, row by row."""
    raise NotImplementedError'''


def code(source: str, *tags: str, picture: str | None = None):
    cell = new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, execution_count=3)
    cell.outputs = [new_output("stream", text="3.14 was printed\n")]
    if picture:
        metadata = {"image/png": {"alt": picture}}
        data = {"image/png": PIXEL, "text/plain": "<Figure>"}
        cell.outputs.append(new_output("display_data", data=data, metadata=metadata))
    return cell


def text(source: str, *tags: str):
    return new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


def save(folder: Path, name: str, *cells) -> Path:
    """A notebook with a title, the set-up cell and these cells, in a folder of notebooks."""
    title = text(f"# A notebook\n\n{BADGE}\n\nThe next is [02](02_two.ipynb#A-section).")
    notebook = new_notebook(cells=[title, code(SETUP_CELL), *cells])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / name)
    return folder / name


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    """Two notebooks with marks and one without."""
    folder = tmp_path / "notebooks"
    save(
        folder,
        "01_one.ipynb",
        code(SOFTMAX, "exercise:softmax"),
        code('softmax = check("softmax", softmax)', "check:softmax"),
        code('claim("largest error", error, 0, 1e-7)', "claims"),
        code("softmax(100 * scores_of_images).round(2)", "solution-only"),
        code("show(fig)", "cover", "nbval-check-output", picture="Ten bars, one higher"),
        text("See [the data](../data/README.md), [03](03_three.ipynb) and ![a](../reports/a.png)."),
    )
    save(folder, "02_two.ipynb", code('predict("share", 0.75)', "predict:share"))
    save(folder, "03_three.ipynb", code("1 + 1"))
    return folder


def made(folder: Path, name: str = "01_one.ipynb"):
    return nbformat.read(folder / "learn" / name, as_version=4)


def blank(source: str, *tags: str) -> str:
    return learn.learners_source(code(source, *tags))


# ── Cells ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_stub_keeps_signature_and_docstring():
    assert blank(SOFTMAX, "exercise:softmax") == STUB
    without = "\n".join(line for line in SOFTMAX.splitlines() if "SOLUTION" not in line)
    assert blank(without, "exercise:softmax") == STUB


def test_what_stands_outside_the_markers_stays():
    source = """\
def total(values):
    result = 0
    for value in values:
        if value > 0:
            # BEGIN SOLUTION
            # only what is positive
            result += value

            # END SOLUTION
    return result


ROUNDS = 3"""
    assert blank(source, "exercise:total") == """\
def total(values):
    result = 0
    for value in values:
        if value > 0:
            raise NotImplementedError
    return result


ROUNDS = 3"""


def test_several_exercises_in_one_cell():
    source = """\
def tanh(z):
    # BEGIN SOLUTION
    return np.tanh(z)
    # END SOLUTION


def relu(
    z: dict[str, int],
    slope=lambda v: v,
) -> "np.ndarray":
    # comments inside go
    return np.maximum(z, 0)
    # even behind the last line


def helper(z):
    return z"""
    assert blank(source, "exercise:tanh", "exercise:relu") == """\
def tanh(z):
    raise NotImplementedError


def relu(
    z: dict[str, int],
    slope=lambda v: v,
) -> "np.ndarray":
    raise NotImplementedError


def helper(z):
    return z"""


def test_a_solution_outside_a_function_does_not_stop_the_cell():
    source = "# BEGIN SOLUTION\nimport math\nx = math.pi\n# END SOLUTION\nprint('go on')"
    assert blank(source, "exercise:x") == "pass  # your code here\nprint('go on')"


def test_the_value_of_an_assignment_can_be_blank():
    source = "dz = p - Y  # SOLUTION\ndW, db = (\n    a.T @ dz, dz.sum(0))  # SOLUTION\nshow(dW)"
    assert blank(source, "exercise:blanks") == "dz = ...\ndW, db = ..., ...\nshow(dW)"


def test_a_marker_in_a_string_is_none():
    source = 'def f():\n    """Doc\n    # BEGIN SOLUTION\n    """\n    return 1'
    assert blank(source, "exercise:f") == (
        'def f():\n    """Doc\n    # BEGIN SOLUTION\n    """\n    raise NotImplementedError'
    )


def test_answers_become_stubs():
    assert blank("hidden = [28, 28]\nwidth = 3", "answer") == "pass  # your code here"
    answer = 'import math\n\nK = 3\n\ndef f(x):\n    """Doc."""\n    return x\n\n\nplot(f, K)'
    assert blank(answer, "answer") == (
        'import math\n\n\ndef f(x):\n    """Doc."""\n    raise NotImplementedError'
    )
    assert learn.learners_source(text("Because it is.", "answer")) == "*Your answer:*"


def test_a_class_keeps_the_signatures_of_its_methods():
    answer = """\
class Scale:
    \"\"\"Doc.\"\"\"

    rate = 3

    def forward(self, a):
        return 2 * a

    def backward(self, delta):
        \"\"\"Back.\"\"\"
        return 2 * delta
plot(Scale())"""
    assert blank(answer, "answer") == """\
class Scale:
    \"\"\"Doc.\"\"\"


    def forward(self, a):
        raise NotImplementedError

    def backward(self, delta):
        \"\"\"Back.\"\"\"
        raise NotImplementedError"""
    assert blank("class Sizes:\n    width = 3", "answer") == "pass  # your code here"


def test_predictions_are_empty():
    source = 'predict("é", (1, [2]), choices=[1, 2])\npredict(\n    "b",\n    answer=x + 1,\n)'
    assert blank(source, "predict:é") == (
        'predict("é", ..., choices=[1, 2])\npredict(\n    "b",\n    answer=...,\n)'
    )


@pytest.mark.parametrize(
    ("source", "tags", "said"),
    [
        ("def f(:\n    pass", ["exercise:f"], "line 1 is no Python"),
        ("def f():\n    # BEGIN SOLUTION\n    return 1", ["exercise:f"], "never ends"),
        ("def f():\n    return 1\n    # END SOLUTION", ["exercise:f"], "never began"),
        ("# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION", ["exercise:f"], "inside that of"),
        ("def f():\n    # BEGIN SOLUTON\n    return 1", ["exercise:f"], "almost a marker"),
        ("def f():\n    # begin solution\n    return 1", ["exercise:f"], "almost a marker"),
        ("def f():\n    # BEGIN SOLUTION\n    # END SOLUTION", ["exercise:f"], "no Python"),
        ("def f():\n    x = 1\n    # BEGIN SOLUTION\n    # END SOLUTION", ["answer"], "no state"),
        (
            "def f():\n    if 1:\n        # BEGIN SOLUTION\n        a = 1\n    b = 2\n"
            "    # END SOLUTION",
            ["exercise:f"],
            "in two",
        ),
        ("def g():\n    return 1", ["exercise:f"], "no function f"),
        ("def f(): return 1", ["exercise:f"], "lines of its own"),
        ("def f():\n    return 1", ["exercise:"], "names nothing"),
        ("def f():\n    # BEGIN SOLUTION\n    return 1\n    # END SOLUTION", [], "neither"),
        ("predict('a')", ["predict:a"], "no prediction"),
        ("1", ["claims", "exercise:f"], "can't be dropped"),
        ("f(1)  # SOLUTION", ["exercise:f"], "only an assignment"),
    ],
)
def test_marks_that_cannot_be_followed_are_refused(tmp_path, capsys, source, tags, said):
    save(tmp_path, "01_one.ipynb", code("1", "claims"), code(source, *tags))
    assert learn.learn(tmp_path) == 1
    error = capsys.readouterr().err
    assert "01_one.ipynb, cell 4" in error and said in error
    assert not (tmp_path / "learn").exists()


# ── Notebooks ─────────────────────────────────────────────────────────────────────────────────────


def test_a_notebook_without_marks_has_no_learners_edition(notebooks):
    assert learn.learn(notebooks) == 0
    assert {p.name for p in (notebooks / "learn").iterdir()} == {
        "01_one.ipynb", "02_two.ipynb", "pictures",
    }  # fmt: skip


def test_the_edition_has_stubs_and_no_outputs(notebooks):
    learn.learn(notebooks)
    notebook = made(notebooks)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells[3:6]] == [
        STUB,
        'softmax = check("softmax", softmax)',
        "show(fig)",
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert "nbval-check-output" not in json.dumps(notebook)
    assert made(notebooks, "02_two.ipynb").cells[2].source == 'predict("share", ...)'


def test_the_opening_picture_is_a_file(notebooks):
    learn.learn(notebooks)
    assert made(notebooks).cells[1].source == "![Ten bars, one higher](pictures/01.png)"
    assert (notebooks / "learn/pictures/01.png").read_bytes() == base64.b64decode(PIXEL)


def test_the_editions_lead_to_one_another(notebooks):
    learn.learn(notebooks)
    assert "](../01_one.ipynb)" in made(notebooks).cells[0].source
    finished = nbformat.read(notebooks / "01_one.ipynb", as_version=4)
    assert "](learn/01_one.ipynb)" in finished.cells[0].source
    assert learn.TWIN not in (notebooks / "03_three.ipynb").read_text()


def test_links_lead_to_the_same_places(notebooks):
    learn.learn(notebooks)
    prose = made(notebooks).cells[-1].source
    assert "See [the data](../../data/README.md), [03](../03_three.ipynb)" in prose
    assert "![a](../../reports/a.png)" in prose
    assert "(02_two.ipynb#A-section)" in made(notebooks).cells[0].source  # it has a twin, too
    code = "`[a](b.md)` [`c`](d.md) [e](https://f) [g](#h)\n```\n[i](j.md)\n```"
    assert learn.relinked(code, lambda link: f"X{link}") == code.replace("](d.md)", "](Xd.md)")


def test_a_fork_has_badges_that_open_the_learners_edition(notebooks, monkeypatch):
    monkeypatch.setattr(learn, "repository_address", lambda: "https://github.com/ada/backprop")
    learn.learn(notebooks)
    assert "/notebooks/learn/01_one.ipynb" in made(notebooks).cells[0].source


def test_twice_gives_the_same_bytes_and_nothing_is_stale(notebooks):
    assert len(learn.stale(notebooks)) == 5  # two lines in sources, two notebooks, one picture
    learn.learn(notebooks)
    first = {path: path.read_bytes() for path in notebooks.rglob("*") if path.is_file()}
    assert learn.stale(notebooks) == []
    learn.learn(notebooks)
    assert first == {path: path.read_bytes() for path in notebooks.rglob("*") if path.is_file()}
    shutil.rmtree(notebooks / "learn")
    learn.learn(notebooks)
    assert first == {path: path.read_bytes() for path in notebooks.rglob("*") if path.is_file()}


def test_lint_tells_when_the_edition_is_stale(notebooks):
    learn.learn(notebooks)
    save(notebooks, "02_two.ipynb", code("another = 1"))
    wrong = learn.stale(notebooks)
    assert any("learn/02_two.ipynb is made from no notebook" in line for line in wrong)
    assert learn.learn(notebooks) == 0
    assert not (notebooks / "learn/02_two.ipynb").exists()
    (notebooks / "learn/pictures/01.png").write_bytes(b"another")
    assert any("pictures/01.png" in line for line in learn.stale(notebooks))


@pytest.mark.parametrize("change", ["source", "output", "no notebook", "no digest"])
def test_a_notebook_somebody_wrote_in_is_left_alone(notebooks, capsys, change):
    learn.learn(notebooks)
    path = notebooks / "learn/01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    if change == "source":
        notebook.cells[3].source += "\n# my first idea"
    elif change == "output":
        notebook.cells[4].outputs = [new_output("stream", text="not written\n")]
    else:
        del notebook.metadata["workbook"]
    nbformat.write(notebook, path)
    if change == "no notebook":
        path.write_text("notes of my own")
    save(notebooks, "02_two.ipynb", code('predict("share", 0.5)', "predict:share"))
    before = {p: p.read_bytes() for p in (notebooks / "learn").rglob("*.ipynb")}
    assert learn.learn(notebooks) == 1
    assert "01_one.ipynb" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in (notebooks / "learn").rglob("*.ipynb")}


def test_a_notebook_an_editor_saved_is_not_written_in(notebooks):
    learn.learn(notebooks)
    path = notebooks / "learn/01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"]["version"] = "3.12.1"
    notebook.cells[3].metadata["collapsed"] = False
    nbformat.write(notebook, path)
    assert learn.learn(notebooks) == 0 and learn.stale(notebooks) == []


# ── Leaks ─────────────────────────────────────────────────────────────────────────────────────────


def test_no_line_of_a_solution_is_in_the_edition(notebooks):
    learn.learn(notebooks)
    assert "exponentials = np.exp(shifted)" in learn.solution_lines(notebooks)
    assert learn.leaks(notebooks) == []


@pytest.mark.parametrize("place", ["a cell", "another spacing", "prose", "metadata"])
def test_a_line_given_away_later_is_found(notebooks, capsys, place):
    line = "exponentials = np.exp(shifted)"
    cell = {
        "a cell": code(f"if True:\n    {line}"),
        "another spacing": code(line.replace(" ", "  ")),
        "prose": text(f"Recall `{line}`."),
        "metadata": code("1", line),
    }[place]
    save(notebooks, "02_two.ipynb", code('predict("share", 0.75)', "predict:share"), cell)
    assert learn.learn(notebooks) == 1
    assert "02_two.ipynb, cell 4" in capsys.readouterr().err
    assert not (notebooks / "learn").exists()


def test_lines_that_say_little_may_occur_anywhere(notebooks):
    source = "def f(x):\n    # BEGIN SOLUTION\n    return x + 1\n    # END SOLUTION"
    save(notebooks, "02_two.ipynb", code(source, "exercise:f"), code("def g(x):\n    return x + 1"))
    assert learn.learn(notebooks) == 0


# ── A copy to work in ─────────────────────────────────────────────────────────────────────────────


def test_start_copies_and_never_overwrites(notebooks, capsys):
    assert learn.start(notebooks) == 1  # nothing to copy
    learn.learn(notebooks)
    (notebooks / "mine").mkdir()
    mine = notebooks / "mine/02_two.ipynb"
    mine.write_text("what I wrote")
    assert learn.start(notebooks) == 0
    assert mine.read_text() == "what I wrote"
    assert "a newer one is in" in capsys.readouterr().out
    copied = nbformat.read(notebooks / "mine/01_one.ipynb", as_version=4)
    assert copied.cells[1].source == "![Ten bars, one higher](../learn/pictures/01.png)"
    assert "](../01_one.ipynb)" in copied.cells[0].source
    assert BADGE not in copied.cells[0].source


def test_start_names_what_is_newer(notebooks, capsys):
    learn.learn(notebooks)
    learn.start(notebooks)
    mine = notebooks / "mine/01_one.ipynb"
    written = nbformat.read(mine, as_version=4)
    written.cells[3].source = SOFTMAX
    nbformat.write(written, mine)
    before = mine.read_bytes()
    capsys.readouterr()
    learn.start(notebooks)
    assert "a newer one" not in capsys.readouterr().out and mine.read_bytes() == before
    save(notebooks, "01_one.ipynb", code(SOFTMAX, "exercise:softmax"), text("A new paragraph."))
    learn.learn(notebooks)
    learn.start(notebooks)
    said = [line for line in capsys.readouterr().out.splitlines() if "01_one" in line]
    assert "a newer one" in said[-1] and mine.read_bytes() == before


def test_filled_with_the_solutions_it_is_the_source_again(notebooks, tmp_path):
    learn.learn(notebooks)
    paths = learn.write_filled(notebooks, tmp_path / "filled")
    one, two = (nbformat.read(path, as_version=4) for path in paths)
    assert one.cells[3].source == SOFTMAX
    assert two.cells[2].source == 'predict("share", 0.75)'


@pytest.mark.slow
def test_blank_and_filled_notebooks_run_from_top_to_bottom(tmp_path):
    """On made-up notebooks that hold the whole catalogue; filled ones with WORKBOOK_STRICT=1."""
    exercises = pytest.importorskip("exercises", reason="the catalogue is not here yet")
    from marked_notebooks import finished_notebooks

    project = Path(exercises.__file__).resolve().parent
    for name in ("checks.py", "exercises.py", "helpers.py"):
        shutil.copy(project / name, tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "workbook.py").touch()  # by which the set-up cell knows the project
    folder = tmp_path / "notebooks"
    finished_notebooks(folder, exercises.CATALOGUE)
    assert learn.learn(folder) == 0
    blank = sorted((folder / "learn").glob("*.ipynb"))
    filled = learn.write_filled(folder, tmp_path / "reports" / "filled")
    strict = {**os.environ, "WORKBOOK_STRICT": "1"}
    lenient = {name: value for name, value in strict.items() if name != "WORKBOOK_STRICT"}
    nbval = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:cacheprovider"]
    for paths, environment, code in ((blank, lenient, 0), (filled, strict, 0), (blank, strict, 1)):
        run = subprocess.run([*nbval, *map(str, paths)], cwd=tmp_path, env=environment,
                             capture_output=True, text=True)
        assert run.returncode == code, run.stdout


# ── The project's own ─────────────────────────────────────────────────────────────────────────────


def test_the_committed_edition_is_what_the_generator_makes():
    folder = Path(learn.__file__).resolve().parent.parent / "notebooks"
    if not (folder / "learn").is_dir():
        pytest.skip("there is no learner's edition yet")
    assert learn.problems(folder) == []


def test_every_source_of_the_edition_is_python():
    folder = Path(learn.__file__).resolve().parent.parent / "notebooks"
    for twin in learn.twins(folder):
        for cell in nbformat.reads(twin.text, as_version=4).cells:
            if cell.cell_type == "code":
                ast.parse(cell.source)


def test_a_bad_mark_is_an_exception_that_names_the_cell(notebooks):
    save(notebooks, "02_two.ipynb", code("def f(:", "exercise:f"))
    with pytest.raises(BadMark, match=r"02_two\.ipynb, cell 3 \(exercise:f\)"):
        learn.twins(notebooks)


def test_pages_of_the_edition_are_read_by_their_number():
    assert learn.number_of(Path("03a_backprop.ipynb")) == "03a"
