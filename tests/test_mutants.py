"""The tests mean something: each of the eighteen errors, built into helpers.py, turns them red.

A mutant is a copy of helpers.py with one line changed. Each is tested with the test of its number
in test_get_right.py, and the unchanged copy with all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import helpers

SOURCE = Path(helpers.__file__)
TESTS = Path(__file__).parent

# The number of the error, the text in helpers.py that becomes another, and what it becomes.
MUTANTS = [
    # 1. Average over the batch once: summed, averaged twice
    (1, "deltas[last] /= len(x)", "deltas[last] /= 1"),
    (1, "deltas[last] /= len(x)", "deltas[last] /= len(x) ** 2"),
    # 2. Squared error: the Jacobian's diagonal alone; the form of cross-entropy
    (2, 'out -= np.einsum("nk,nk->n", out, p)[:, None]', "out -= out * p"),
    (2, "    out *= p\n", "    out += 0\n"),
    # 3. The derivative at another value than it was written for; one cache for all layers
    (3, "np.subtract(1, a, out=out)", "np.subtract(1, z, out=out)"),
    (3, "np.multiply(a, a, out=out)", "np.multiply(z, z, out=out)"),
    (3, "zs[below], activations[below], slopes", "zs[-2], activations[-2], slopes"),
    # 4. ReLU: output >= 0, which is always so; a slope at zero
    (4, "np.greater(z, 0, out=out)", "np.greater_equal(a, 0, out=out)"),
    (4, "np.greater(z, 0, out=out)", "np.greater_equal(z, 0, out=out)"),
    # 5. Delta goes back through weights that were updated already
    (
        5,
        "np.dot(deltas[layer], self.weights[layer].T,",
        "np.dot(deltas[layer], self.weights[layer].T - 0.1 * self.weight_gradients[layer].T,",
    ),
    # 6. t: stands still, as if it counted epochs; counts parameters; starts at 2
    (6, "self.t += 1\n", "self.t = 1\n"),
    (6, "self.t += 1\n", "self.t += parameters.size\n"),
    (6, "self.t += 1\n", "self.t += 1 + (self.t == 0)\n"),
    # 7. Nesterov without its look-ahead; an evaluation that moves the weights
    (7, "(gradients + self.beta * v)", "v"),
    (7, "z = a @ w  #", "w *= 0.999; z = a @ w  #"),
    # 8. Keras's Nadam, Dozat's Nadam; Keras's ε; PyTorch's β of RMSprop
    (8, "0.96 ** (0.004 * t)", "0.96 ** t"),
    (8, "self.beta1 * (1 - 0.5 * 0.96 ** (0.004 * t))", "self.beta1 + 0 * t"),
    (8, "= 0.999\n    epsilon: float = 1e-8", "= 0.999\n    epsilon: float = 1e-7"),
    (8, "beta: float = 0.9\n    epsilon", "beta: float = 0.99\n    epsilon"),
    # 9. Weight decay: wrong sign, on biases too, never used, twice
    (9, "self.gradients[:self.n_weights] += weight", "self.gradients[:self.n_weights] -= weight"),
    (
        9,
        "self.gradients[:self.n_weights] += weight_decay * self.parameters[:self.n_weights]",
        "self.gradients += weight_decay * self.parameters",
    ),
    (9, "        if weight_decay:\n", "        if False:\n"),
    (9, "[:self.n_weights] += weight_decay *", "[:self.n_weights] += 2 * weight_decay *"),
    # 10. The caller's x is changed; what forward returned is overwritten; softmax overflows
    (10, "inputs = [x, *activations[:-1]]", "x -= x.mean(); inputs = [x, *activations[:-1]]"),
    (10, "self._log_probabilities(self._check_x(x)))", "self._log_probabilities(self._check_x(x)), "
     "out=self._workspace(len(x))[1][-1])"),
    (10, "    z -= z.max(axis=1, keepdims=True)\n", "    z -= 0\n"),
    # 11. Never shuffled; shuffled once; the last batch dropped; not weighted by size
    (11, "rng.permutation(len(x))", "np.arange(len(x))"),
    (11, "rng.permutation(len(x))", "np.random.default_rng(seed).permutation(len(x))"),
    (11, "range(0, len(order), batch_size)", "range(0, len(order) - batch_size + 1, batch_size)"),
    (11, "loss * len(batch)", "loss * batch_size"),
    # 12. The variance in the limit's place; two layers alike; half of He's variance
    (12, "np.sqrt(6 / (fan_in + fan_out))", "np.sqrt(2 / (fan_in + fan_out))"),
    (12, "[weight_init](rng, *w.shape)", "[weight_init](np.random.default_rng(seed), *w.shape)"),
    (12, "np.sqrt(2 / fan_in)", "np.sqrt(1 / fan_in)"),
    # 13. Validation images among the training images; from the test set; learned from
    (13, "train, val = train_test_split(train,", "_, val = train_test_split(train,"),
    (
        13,
        "scaled(x[val]), y[val],",
        'scaled(arrays["x_test"])[:len(val)], arrays["y_test"].astype(np.int64)[:len(val)],',
    ),
    (
        13,
        "rng, rows = np.random.default_rng(seed), []",
        "rng, rows, x, y = np.random.default_rng(seed), [], np.vstack([x, x_val]), "
        "np.append(y, y_val)",
    ),
    # 14. A reference in the place of a copy
    (14, "last_finite = network.parameters.copy()", "last_finite = network.parameters"),
    # 15. Accuracy elementwise on one-hot rows
    (
        15,
        "(log_p.argmax(axis=1) == y)",
        "((np.exp(log_p) > 0.5) == np.eye(log_p.shape[1], dtype=bool)[y])",
    ),
    (
        15,
        "np.count_nonzero(network._buffers[2][-1].argmax(axis=1) == y_batch)",
        "len(batch) * ((network._buffers[2][-1] > 0.5)"
        " == np.eye(network.layer_sizes[-1])[y_batch]).mean()",
    ),
    # 16. A name that stands for another rule; an entry point that does not pass a name on
    (16, '"nadam": Nadam', '"nadam": Adam'),
    (16, "Network(sizes, **parts,", 'Network(sizes, **{**parts, "loss": "cross_entropy"},'),
    (16, "sizes, self.activation, self.weight_init,", 'sizes, self.activation, "xavier",'),
    # 17. Half of the squared error reported; the penalty without its half; the penalty left out
    (17, 'return np.einsum("nk,nk->n", p, p)', 'return 0.5 * np.einsum("nk,nk->n", p, p)'),
    (17, "+ 0.5 * weight_decay *", "+ weight_decay *"),
    # 18. Axes that say the opposite; a picture that stands the other way round
    (18, 'xlabel="predicted class", ylabel="true', 'ylabel="predicted class", xlabel="true'),
    (18, "sns.heatmap(rates, annot=labels,", "sns.heatmap(rates.T, annot=labels.T,"),
]
UNCHANGED = "unchanged"
IDS = [f"{number:02d}-{i}" for i, (number, _, _) in enumerate(MUTANTS)]

# One process runs them all, so that NumPy and scikit-learn are imported once. Every folder holds a
# helpers.py and the tests; the modules of the folder before are forgotten.
RUNNER = """
import contextlib, io, json, sys
from pathlib import Path
import pandas, pytest, sklearn.model_selection, sklearn.utils.validation

answers = {}
for folder, tests in json.load(sys.stdin):
    for name in ("helpers", "samples", "test_get_right"):
        sys.modules.pop(name, None)
    sys.path.insert(0, folder)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-c", f"{folder}/pytest.ini",
                            "--rootdir", folder, f"{folder}/test_get_right.py", "-k", tests])
    where = str(Path(sys.modules["helpers"].__file__).parent) if "helpers" in sys.modules else None
    answers[Path(folder).name] = {"code": int(code), "text": out.getvalue(), "helpers": where}
    sys.path.remove(folder)
print(json.dumps(answers))
"""


def write(folder: Path, source: str) -> None:
    folder.mkdir()
    (folder / "helpers.py").write_text(source, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name in ("samples.py", "test_get_right.py"):
        shutil.copy(TESTS / name, folder)


def ask(root: Path) -> dict[str, dict]:
    """What pytest says of each mutant; of the unchanged copy before and after all of them."""
    source = SOURCE.read_text(encoding="utf-8")
    plan = [(UNCHANGED, source, "error")]
    for key, (number, old, new) in zip(IDS, MUTANTS, strict=True):
        if source.count(old) == 1:
            plan.append((key, source.replace(old, new), f"error_{number:02d}"))
    plan.append((f"{UNCHANGED}-again", source, "error"))
    for key, text, _ in plan:
        write(root / key, text)
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
    }
    # With CI set pytest writes out every failure in full: minutes of differences nobody reads.
    for name in ("PYTEST_ADDOPTS", "PYTHONPATH", "CI", "BUILD_NUMBER"):
        environment.pop(name, None)
    result = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([(str(root / key), tests) for key, _, tests in plan]),
        capture_output=True,
        text=True,
        cwd=root,
        env=environment,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_every_error_has_a_mutant() -> None:
    assert {number for number, _, _ in MUTANTS} == set(range(1, 19))


@pytest.mark.parametrize(("number", "old", "new"), MUTANTS, ids=IDS)
def test_the_text_that_a_mutant_changes_occurs_once(number: int, old: str, new: str) -> None:
    count = SOURCE.read_text(encoding="utf-8").count(old)
    assert count == 1, (
        f"the mutant of error {number} changes {old!r}, which occurs {count} times in helpers.py: "
        "bring the table in test_mutants.py into step"
    )
    assert old != new


def what_is_wrong(key: str, number: int | None, answers: dict[str, dict]) -> str:
    """Why an answer proves nothing; empty when it is as it should be. Number None: unchanged."""
    if key not in answers:
        return "the text that it changes does not occur once in helpers.py"
    code, text, where = (answers[key][name] for name in ("code", "text", "helpers"))
    if where is None or Path(where).name != key:
        return "another helpers.py was tested"
    if number is None:
        return "" if code == 0 and "18 passed" in text else f"the unchanged copy is red:\n{text}"
    # 1: tests ran and failed. 2 and more: they could not run, which would prove nothing.
    if code != 1 or "1 failed" not in text or f"::test_error_{number:02d}" not in text:
        return f"error {number} went unnoticed:\n{text}"
    slips = ("NameError", "SyntaxError", "AttributeError")  # of the mutant, not of a student
    return text if any(slip in text for slip in slips) else ""


# One test, so that one worker runs them all, once.
def test_the_unchanged_copy_is_green_and_every_mutant_red(tmp_path: Path) -> None:
    answers = ask(tmp_path.resolve())
    numbers = [None, *(number for number, _, _ in MUTANTS), None]
    keys = [UNCHANGED, *IDS, f"{UNCHANGED}-again"]
    found = {key: what_is_wrong(key, n, answers) for key, n in zip(keys, numbers, strict=True)}
    assert len(found) == len(MUTANTS) + 2
    assert not any(found.values()), {key: wrong for key, wrong in found.items() if wrong}
