"""The checks say which idea is wrong: every known mistake by its name, nothing right refused.

Right and wrong answers of `right_answers.py` and `wrong_answers.py` were written without looking at
the catalogue's switches.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import checks
import exercises
from checks import judge
from exercises import CATALOGUE
from right_answers import RIGHT
from wrong_answers import WRONG

NAMES = list(CATALOGUE)
DRAWN = [name for name in NAMES if CATALOGUE[name].examine is not None]
COMPARED = [name for name in NAMES if name not in DRAWN]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def journal(tmp_path, monkeypatch):
    """Every test's records go to a folder of its own."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    monkeypatch.delenv("WORKBOOK_STRICT", raising=False)
    monkeypatch.setattr(checks, "_hints_given", {})
    monkeypatch.setattr(checks, "_predictions", {})
    monkeypatch.setattr(checks, "_data_name", "")
    return tmp_path / "reports" / "progress.jsonl"


# ── The catalogue ─────────────────────────────────────────────────────────────────────────────────


def test_the_exercises_are_those_that_were_agreed_on() -> None:
    assert set(NAMES) == {
        "one_of_each", "stratified_split", "nearest_mean", "relu", "tanh", "sigmoid",
        "dense", "softmax", "cross_entropy", "squared_error", "forward",
        "count_parameters", "xavier", "he", "cross_entropy_delta", "squared_error_delta",
        "tanh_backward", "sigmoid_backward", "relu_backward", "dense_backward",
        "backward", "numeric_gradient", "add_weight_decay", "minibatches",
        "weighted_mean", "sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam",
        "accuracy", "confusion_matrix", "precision_recall", "expected_calibration_error",
        "dropout", "convolve"}


def test_importing_checks_brings_nothing_but_numpy() -> None:
    program = "import sys, checks; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(checks.__file__).parent, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(checks.__file__).parent)}, text=True, check=True)
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert {"checks", "exercises", "numpy"} <= loaded
    assert not loaded & {"helpers", "pandas", "sklearn", "scipy", "matplotlib", "IPython", "joblib"}


@pytest.mark.parametrize("name", NAMES)
def test_simple_exercises_know_three_mistakes_and_difficult_ones_eight(name: str) -> None:
    exercise = CATALOGUE[name]
    hard = {"backward", "dense_backward", "adam", "nadam", "nesterov", "squared_error"}
    assert len(exercise.mistakes) >= (8 if name in hard else 3)
    assert exercise.points >= 1 and exercise.why and exercise.section
    assert len(exercise.hints) == 3 and all(exercise.hints)
    assert {*exercise.stops.values(), *exercise.stops_always.values()} <= set(exercise.mistakes)
    assert not exercise.warm or exercise.warm in exercise.mistakes


# Words of Python and NumPy that a message must not hold: ideas, not lines.
CODE = re.compile(r"np\.|axis=|lambda \w+:|def \w+\(|\*\*|"
                  r"\[:|==|\+=|\.sum\(|\.mean\(|@|\breshape\(")


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_short_sentences_without_code(name: str) -> None:
    for mistake in CATALOGUE[name].mistakes.values():
        for text in (mistake.idea, mistake.think):
            assert not CODE.search(text), text
            assert not text or text[-1] in ".?!", text
        assert len(mistake.idea) <= 110, mistake.idea
        assert len(mistake.idea + mistake.think) <= 330, mistake.idea
        assert "  " not in mistake.idea + mistake.think
    assert not CODE.search(" ".join(CATALOGUE[name].hints) + CATALOGUE[name].why)


def test_every_idea_is_told_in_words_of_its_own() -> None:
    for exercise in CATALOGUE.values():
        ideas = [mistake.idea for mistake in exercise.mistakes.values()]
        assert len(ideas) == len(set(ideas)), exercise.name


# ── Right, blank, wrong ───────────────────────────────────────────────────────────────────────────


def refused(name: str, functions: list, seeds: range) -> list:
    verdicts = [(i, seed, judge(name, function, seed=seed))
                for i, function in enumerate(functions) for seed in seeds]
    return [entry for entry in verdicts if entry[2].status != "right"]


def rounded(function):
    """The same in float32: what goes in and what comes out."""
    def single(value):
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            return value.astype(np.float32)
        return [single(one) for one in value] if isinstance(value, list) else value

    def in_float32(*arguments, **settings):
        return function(*[single(argument) for argument in arguments], **settings)

    return in_float32


def answers(name: str) -> list:
    exercise = CATALOGUE[name]
    given = [exercise.answer, exercise.make(), *RIGHT[name]]
    if name != "numeric_gradient":  # asked for in float64 alone
        given += [rounded(exercise.answer)]
    return given


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_right_however_they_are_written(name: str) -> None:
    assert len(RIGHT[name]) >= 2
    assert not refused(name, answers(name), range(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_right_on_many_seeds(name: str) -> None:
    assert not refused(name, answers(name), range(2, 40))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if n != "numeric_gradient"])
def test_right_answers_are_right_in_float32(name: str) -> None:
    functions = [rounded(function) for function in RIGHT[name]]
    assert not refused(name, functions, range(20))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_written_is_blank(name: str) -> None:
    def blank(*arguments, **settings):
        """What it should do."""
        raise NotImplementedError

    def dots(*arguments, **settings):
        ...

    def passes(*arguments, **settings):
        """What it should do."""
        pass

    def placeholder(*arguments, **settings):
        out = None
        return out

    for function in (blank, dots, passes, placeholder, None, ...):
        verdict = judge(name, function)
        assert (verdict.status, verdict.mistakes) == ("blank", ())


def test_handing_back_the_argument_is_wrong_not_blank() -> None:
    def same(z):
        return z

    assert judge("relu", same).status == "wrong"


def misnamed(name: str, seeds: range) -> list:
    exercise = CATALOGUE[name]
    found = []
    for seed in seeds:
        for switched in exercise.singles():
            verdict = judge(name, exercise.make(switched), seed=seed)
            if verdict.status != "known" or verdict.mistakes != tuple(switched):
                found.append((seed, switched, verdict))
            elif not re.search(r"\d|nan|alike|one sign|beyond|come back|comes back|shape|differ",
                               verdict.message):
                found.append((seed, switched, "no evidence", verdict.message))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_named(name: str) -> None:
    assert not misnamed(name, range(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_named_on_twenty_seeds(name: str) -> None:
    assert not misnamed(name, range(1, 21))


# Two mistakes that make one of another name, and truly so: their arithmetic is the same.
SAME_AS = {
    ("not through the softmax", "factor 2 forgotten"): "cross-entropy's shortcut",
    ("lambda alone", "multiplied instead of added"): "the gradient shrunk instead",
    ("dW in place of W", "sign turned"): "the gradient shrunk instead",
    ("dW in place of W", "without the gradient of the loss"): "the gradient shrunk instead",
    ("β at the gradient", "β forgotten in the look-ahead"): "velocity never decays",
    ("β₁ for both averages", "β₁'s correction for both"): "another β₂",
}


# Exercises in which some pair gives just what another single mistake gives, and is named by that.
CONFUSED_PAIRS = ("minibatches", "accuracy", "dropout")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_mistakes_at_once_are_caught_and_never_named_wrongly(
    name: str, request: pytest.FixtureRequest
) -> None:
    if name in CONFUSED_PAIRS:
        request.applymarker(pytest.mark.xfail(reason="a pair is named by another mistake"))
    exercise = CATALOGUE[name]
    pairs = list(exercise.pairs())
    named = 0
    for switched in pairs:
        verdict = judge(name, exercise.make(switched), seed=3)
        assert verdict.status not in ("right", "blank"), switched
        allowed = {*switched, SAME_AS.get(tuple(switched))}
        assert set(verdict.mistakes) <= allowed, (switched, verdict)
        named += bool(verdict.mistakes)
    assert named >= 0.7 * len(pairs), f"{named} of {len(pairs)}"


WRONG_IDS = [f"{name}-{i}" for i, (name, _, _) in enumerate(WRONG)]


@pytest.mark.parametrize(("name", "ideas", "function"), WRONG, ids=WRONG_IDS)
def test_what_students_write_is_named(name: str, ideas: set[str], function) -> None:
    assert ideas <= set(CATALOGUE[name].mistakes)
    verdict = judge(name, function)
    assert verdict.status == ("known" if ideas else verdict.status)
    assert verdict.status not in ("right", "blank")
    assert set(verdict.mistakes) <= ideas, verdict
    assert not CODE.search(verdict.message) or "line" in verdict.message, verdict.message


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ideas", "function"), WRONG, ids=WRONG_IDS)
def test_what_students_write_is_named_on_every_seed(name: str, ideas: set[str], function) -> None:
    for seed in range(1, 21):
        verdict = judge(name, function, seed=seed)
        assert verdict.status not in ("right", "blank")
        assert set(verdict.mistakes) <= ideas and bool(ideas) == bool(verdict.mistakes), verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in COMPARED if n != "numeric_gradient"])
def test_mistakes_in_float32_are_caught_or_too_small_for_it(name: str) -> None:
    """Where float32 can't show a mistake, the two agree to its rounding; none is named wrongly."""
    exercise = CATALOGUE[name]
    for switched in exercise.singles():
        verdict = judge(name, rounded(exercise.make(switched)))
        assert set(verdict.mistakes) <= set(switched), (switched, verdict)
        if verdict.status == "right":
            assert name in ("nadam", "rmsprop", "adam", "sigmoid"), switched


# ── Where the catalogue comes from ────────────────────────────────────────────────────────────────

# Met in public answers; the words in front of the colon are exercises, those behind names.
MET = """
one_of_each: labels instead of positions
stratified_split: the first of every class, not at random
stratified_split: cuts the number off instead of rounding it
nearest_mean: sum of absolute differences
relu: leaky
tanh: quotient of exponentials, nan far out
sigmoid: z clipped to ±10
dense: W transposed
softmax: no maximum subtracted; along axis 0; keepdims forgotten; no exponential, only normalised
cross_entropy: sum instead of mean; minus sign forgotten; binary form over all classes
cross_entropy: mean over all entries of the one-hot product
squared_error: mean over images and classes
forward: returns the logits; sigmoid in the hidden layers; biases never added
count_parameters: weights only
accuracy: more than one half for the true class
confusion_matrix: rows predicted, columns true; M[y_true, y_pred] += 1
confusion_matrix: only the mistakes, diagonal empty
precision_recall: the two swapped
expected_calibration_error: plain mean over the bins
expected_calibration_error: middle of the bin instead of the mean confidence
dropout: no scaling; keeps with probability rate
convolve: only the first channel
xavier: only the positive half; no root
he: the variance as standard deviation; 1/fan_in (LeCun's)
cross_entropy_delta: summed over the batch; logarithm left in
squared_error_delta: summed over the batch; not through the softmax; cross-entropy's shortcut
squared_error_delta: the diagonal alone
tanh_backward: without what arrives
sigmoid_backward: a factor lost
relu_backward: multiplied by ReLU itself
dense_backward: made to fit with reshape; averaged again; one bias gradient for the whole layer
dense_backward: W not transposed; bias averaged
backward: summed over the batch; without the activation's slope; last layer first
backward: W not transposed: only square layers run
numeric_gradient: all components moved together; earlier components stay moved
add_weight_decay: the penalty itself added; the gradient shrunk instead
minibatches: the short batch dropped; drawn with replacement; NumPy's global generator
minibatches: an empty batch when the size divides n
weighted_mean: divided by the number of batches; means added up as if they were sums
sgd: uphill
momentum: an average, (1−β) g; steps with the old velocity
nesterov: an average, (1−β) g; velocity not kept; theta typed for g
rmsprop: new squares without 1−β; β and 1−β exchanged
adam: t starts at 2; no root; kept in a global, so a second run starts warm; no bias correction
nadam: Dozat's, β₁ constant; Ruder's, β₁ constant; no bias correction of the squares
"""

# The eighteen lines of what to get right (and the mutants built on them) that touch an exercise.
LINES = {
    1: "cross_entropy_delta: summed over the batch; averaged twice\nbackward: summed over the "
       "batch; averaged twice",
    2: "squared_error_delta: the diagonal alone; the Jacobian without its factor p; "
       "cross-entropy's shortcut",
    3: "backward: slope at the value before the activation; another layer's slope; tanh applied "
       "again in the slope\ntanh_backward: tanh applied again\nsigmoid_backward: sigmoid applied "
       "again",
    4: "relu_backward: what arrives is handed on unchanged",
    5: "dense_backward: W was updated before\nbackward: W was updated before",
    6: "adam: t starts at 2; t starts at 0; t stands still; t counts parameters",
    7: "nesterov: without the look-ahead; the old velocity in the look-ahead",
    8: "nadam: Ruder's, β₁ constant; Dozat's, β₁ constant; Keras's schedule, without 0.004\n"
       "adam: another ε\nrmsprop: another β; another ε",
    9: "add_weight_decay: sign turned; twice; never used",
    10: "softmax: no maximum subtracted\nsigmoid: overflows far out\ntanh: quotient of "
        "exponentials, nan far out",
    11: "minibatches: not shuffled; the short batch dropped; a generator of its "
        "own\nweighted_mean: divided by the number of batches; every batch "
        "counted as if it were full",
    12: "xavier: the standard deviation as the limit; a generator of its own\nhe: 1/fan_in "
        "(LeCun's)",
    13: "stratified_split: validation images stay in training",
    15: "accuracy: entry by entry on one-hot rows",
    17: "squared_error: half in front\nadd_weight_decay: twice",
    18: "confusion_matrix: rows predicted, columns true",
}


def table(text: str) -> list[tuple[str, str]]:
    rows = []
    for line in text.strip().splitlines():
        name, _, ideas = line.partition(": ")
        rows += [(name, idea.strip()) for idea in ideas.split("; ")]
    return rows


@pytest.mark.parametrize("text", [MET, *LINES.values()], ids=["met", *map(str, LINES)])
def test_every_mistake_that_was_met_is_in_the_catalogue(text: str) -> None:
    missing = [(name, idea) for name, idea in table(text) if idea not in CATALOGUE[name].mistakes]
    assert not missing


# ── What judging leaves alone, and what it survives ───────────────────────────────────────────────


def mutating(name: str):
    """An answer that is right and changes its first argument that can be changed."""
    answer = CATALOGUE[name].answer

    def function(*arguments, **settings):
        result = answer(*arguments, **settings)
        for argument in arguments:
            if isinstance(argument, np.ndarray) and argument.size:
                argument *= 0
                argument += 7
                break
        return result
    return function


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (
    "count_parameters", "xavier", "he", "minibatches")])
def test_changing_an_argument_is_said(name: str) -> None:
    verdict = judge(name, mutating(name))
    assert verdict.status == "mutates" and verdict.mistakes == ()
    assert re.search(r"\d", verdict.message) or "one call" in verdict.message


def test_changing_a_list_of_weights_is_said() -> None:
    def backward(x, Y, weights, biases):
        result = exercises.backward(x, Y, weights, biases)
        weights.reverse()
        return result

    assert judge("backward", backward).status == "mutates"


def test_an_update_in_place_is_said() -> None:
    def sgd(theta, g, state, learning_rate=0.01):
        theta -= learning_rate * g
        return theta

    verdict = judge("sgd", sgd)
    assert verdict.status == "mutates" and "theta" in verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_generators_settings_and_files_stay_as_they_were(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = np.random.get_state()[1].tobytes(), random.getstate(), np.geterr()  # noqa: NPY002
    options = np.get_printoptions()

    def rude(*arguments, **settings):
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        np.seterr(all="raise")
        np.set_printoptions(precision=2)
        print("here I am")
        return RIGHT[name][0](*arguments, **settings)

    judge(name, rude)
    judge(name, RIGHT[name][0])
    after = np.random.get_state()[1].tobytes(), random.getstate(), np.geterr()  # noqa: NPY002
    assert before == after and np.get_printoptions() == options
    assert not list(tmp_path.iterdir())


def test_judging_prints_nothing(capsys) -> None:
    def chatty(z):
        print("shape", z.shape)
        print("shape", file=sys.stderr)
        return exercises.softmax(z)

    assert judge("softmax", chatty).right
    assert capsys.readouterr() == ("", "")


class Strange:
    def __array__(self, *arguments, **settings):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


def raising(error):
    def function(*arguments, **settings):
        raise error
    return function


def recursing(*arguments, **settings):
    return recursing(*arguments, **settings)


STRANGE = {
    "nothing": lambda *a, **s: print("x"), "text": lambda *a, **s: "done", "number": lambda *a,
    **s: 3, "nan": lambda *a, **s: np.nan, "complex": lambda *a, **s: np.ones((4, 4)) * 1j,
    "object": lambda *a, **s: object(), "ragged": lambda *a, **s: [[1, 2], [3]],
    "none inside": lambda *a, **s: [None, None], "strange": lambda *a, **s: Strange(),
    "strange inside": lambda *a, **s: [Strange(), Strange(), Strange()],
    "dictionary": lambda *a, **s: {"a": 1}, "generator": lambda *a, **s: (i for i in range(3)),
    "function": lambda *a, **s: len, "set": lambda *a, **s: {1, 2}, "empty": lambda *a, **s: [],
    "dates": lambda *a, **s: np.array(["2020-01-01"], "M8[D]"),
    "matrix": lambda *a, **s: np.matrix([[1, 2], [3, 4]]), "huge": lambda *a, **s: [10 ** 400],
    "recursion": recursing, "three": lambda *a, **s: (np.ones(2), "b", None),
    "zeros": lambda *a, **s: np.zeros((4, 4)), "class": Strange, "exits": raising(SystemExit()),
    "takes nothing": lambda: 1, "error": raising(ValueError("no idea")),
    "assertion": raising(AssertionError()), "stops": raising(StopIteration()),
    "generator exit": raising(GeneratorExit()), "not callable": 7, "array": np.ones(3),
}


@pytest.mark.parametrize("name", NAMES)
def test_strange_answers_are_refused_with_a_message(name: str) -> None:
    for label, function in STRANGE.items():
        verdict = judge(name, function)
        assert verdict.status in ("crash", "shape", "wrong", "known"), (label, verdict)
        assert len(verdict.message) > 20 and isinstance(verdict.message, str)
        if verdict.status == "known" and label not in ("zeros",):
            # a constant may be what a known mistake gives: one pair of equal things, one number
            assert name in ("xavier", "he", "minibatches", "dropout", "stratified_split",
                            "one_of_each"), (label, verdict)


def test_an_interruption_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        judge("relu", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        judge("minibatches", raising(KeyboardInterrupt()))


def test_a_crash_shows_the_readers_own_line() -> None:
    def dense(a, W, b):
        missing = a @ W + c  # noqa: F821
        return missing

    verdict = judge("dense", dense)
    assert verdict.status == "crash"
    assert "NameError" in verdict.message and "missing = a @ W + c" in verdict.message


def test_matrices_are_read_as_arrays() -> None:
    assert judge("dense", lambda a, W, b: np.asmatrix(a) * np.asmatrix(W) + b).right


def test_unnamed_mistakes_are_told_by_factor_sign_transpose_or_first_difference() -> None:
    tripled = judge("cross_entropy", lambda p, y: 3 * exercises.cross_entropy(p, y))
    assert "factor" in tripled.message
    turned = judge("expected_calibration_error",
                   lambda p, y, bins=10: -exercises.expected_calibration_error(p, y, bins))
    assert turned.status == "wrong" and "opposite sign" in turned.message

    def backward(x, Y, weights, biases):
        dW, db = exercises.backward(x, Y, weights, biases)
        dW[0] = dW[0] * 1.5 + 0.1
        return dW, db

    verdict = judge("backward", backward)
    assert verdict.status == "wrong" and "W1" in verdict.message


def test_a_wrong_shape_is_said_with_both_shapes() -> None:
    verdict = judge("softmax", lambda z: exercises.softmax(z)[:, :-1])
    assert verdict.status == "shape"
    assert "(4, 3)" in verdict.message and "(4, 4)" in verdict.message


def test_an_unknown_exercise_lists_those_that_exist() -> None:
    with pytest.raises(KeyError, match="softmax"):
        judge("sofmax", len)


def test_another_seed_has_other_cases() -> None:
    first, second = checks._cases("softmax", 0)[0], checks._cases("softmax", 1)[0]
    assert not np.array_equal(first[0].arguments[0], second[0].arguments[0])


def test_one_verdict_is_a_matter_of_milliseconds() -> None:
    """50 ms on an ordinary laptop; CPU seconds here, with room for a slower machine."""
    spent = {}
    for name in NAMES:
        for label, function in (("right", CATALOGUE[name].answer), ("unknown", STRANGE["zeros"])):
            judge(name, function)
            start = time.process_time()
            judge(name, function)
            spent[name, label] = time.process_time() - start
    slowest = max(spent, key=spent.get)
    assert spent[slowest] < 0.2, (slowest, spent[slowest])


# ── What a reader meets ───────────────────────────────────────────────────────────────────────────


def entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_check_gives_the_readers_function_back_when_it_is_right(capsys, journal) -> None:
    function = RIGHT["softmax"][0]
    assert checks.check("softmax", function) is function
    out = capsys.readouterr().out
    assert out.startswith("✓ Right.") and out.count("\n") == 1
    (entry,) = entries(journal)
    assert (entry["exercise"], entry["status"]) == ("softmax", "right")
    assert list(journal.parent.iterdir()) == [journal]


def test_check_lends_ours_and_knows_it_again(capsys, journal) -> None:
    def softmax(z):
        raise NotImplementedError

    lent = checks.check("softmax", softmax)
    assert "Not written yet" in capsys.readouterr().out
    z = np.array([[0, np.log(3)]])
    assert np.allclose(lent(z), [[0.25, 0.75]])
    again = checks.check("softmax", lent)
    assert "This is ours: run your own cell first" in capsys.readouterr().out
    assert np.allclose(again(z), [[0.25, 0.75]])
    assert judge("softmax", lent).status == "blank"
    assert [entry["status"] for entry in entries(journal)] == ["blank", "blank"]


def test_check_of_a_mistake_names_it_and_goes_on_with_ours(capsys, journal) -> None:
    lent = checks.check("squared_error", lambda p, Y: ((p - Y) ** 2).mean())
    out = capsys.readouterr().out
    assert out.startswith("✗ You average over the classes too.")
    assert "1/4 times ours on 6 images" in out and "The loss" in out
    assert lent(np.array([[0.5, 0.5]]), np.array([[1, 0]])) == 0.5
    assert entries(journal)[0]["mistakes"] == ["mean over images and classes"]


def test_check_raises_only_when_it_is_to_be_strict(monkeypatch) -> None:
    monkeypatch.setenv("WORKBOOK_STRICT", "1")
    checks.check("relu", exercises.relu)
    with pytest.raises(AssertionError, match="relu: Yours is a leaky ReLU"):
        checks.check("relu", lambda z: np.maximum(z, 0.01 * z))
    with pytest.raises(AssertionError, match="Not written yet"):
        checks.check("relu", None)


def test_a_folder_that_cannot_be_written_stops_nobody(capsys, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "file" / "reports"))
    assert checks.check("relu", exercises.relu) is exercises.relu
    assert "can't be kept" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_hints_go_a_level_further_with_each_call(name: str, capsys) -> None:
    for level in (1, 2, 3, 4, 4):
        checks.hint(name)
        out = capsys.readouterr().out
        assert out.startswith(f"Hint {level} of 4. ")
        assert ("def " in out) == (level == 4)
    assert "See “" in out or "Our lines" in out


def test_progress_counts_points(capsys) -> None:
    checks.progress()
    total = sum(exercise.points for exercise in CATALOGUE.values())
    assert capsys.readouterr().out.endswith(f"0 of {total} points\n")
    checks.check("relu", exercises.relu)
    checks.check("relu", lambda z: z)  # once right is right
    checks.check("tanh", lambda z: z)
    capsys.readouterr()
    checks.progress()
    out = capsys.readouterr().out
    assert "✓ right: relu" in out and "✗ tried: tanh" in out
    assert out.endswith(f"{CATALOGUE['relu'].points} of {total} points\n")


def test_a_torn_line_in_the_journal_is_passed_over(capsys, journal) -> None:
    checks.check("relu", exercises.relu)
    with open(journal, "a") as file:
        file.write('{"kind": "che\n[1]\n')
    checks.progress()
    assert "✓ right: relu" in capsys.readouterr().out


def test_predictions_are_kept_and_compared(capsys, journal) -> None:
    checks.predict("accuracy", ...)
    checks.reveal("accuracy", 0.98)
    out = capsys.readouterr().out
    assert "No prediction yet" in out and "You made no prediction. It is 0.98." in out
    checks.predict("accuracy", 0.9)
    checks.reveal("accuracy", np.float64(0.98))
    assert "You said 0.9, it is 0.98." in capsys.readouterr().out
    checks.predict("pair", ["shirt", "coat"])
    checks.reveal("pair", ("shirt", "coat"))
    assert "You were right: shirt, coat." in capsys.readouterr().out
    assert [entry["kind"] for entry in entries(journal)] == ["predict", "reveal"] * 2


def test_a_claim_is_held_to_its_number(capsys) -> None:
    checks.claim("about 98 %", 0.98, 0.97, 0.99)
    with pytest.raises(AssertionError, match="about 98 %: 0.9 is not between 0.97 and 0.99"):
        checks.claim("about 98 %", 0.9, 0.97, 0.99)
    with pytest.raises(AssertionError):
        checks.claim("about 98 %", float("nan"), 0.97, 0.99)
    assert capsys.readouterr().out == ""


def test_on_the_digits_claims_are_not_checked_but_those_about_tables(capsys) -> None:
    @dataclasses.dataclass
    class Data:
        name: str = "digits"

    checks.data_is(Data())
    checks.claim("about 98 %", 0.9, 0.97, 0.99)
    assert capsys.readouterr().out == "not checked here: about 98 %\n"
    with pytest.raises(AssertionError):
        checks.claim("about 98 %", 0.9, 0.97, 0.99, everywhere=True)
    checks.data_is("fashion_mnist")
    with pytest.raises(AssertionError):
        checks.claim("about 98 %", 0.9, 0.97, 0.99)


def test_in_a_notebook_there_is_colour_and_plain_text_beside_it(monkeypatch) -> None:
    display = pytest.importorskip("IPython.display")
    import IPython

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(display, "display", lambda data, raw: shown.append(data))
    checks.check("relu", lambda z: np.minimum(z, 0))
    (data,) = shown
    assert data["text/plain"].startswith("✗ You keep the negative side")
    assert "<b" in data["text/html"] and "#b3261e" in data["text/html"]
