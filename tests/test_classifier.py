"""The network as a scikit-learn classifier."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import helpers
from helpers import ACTIVATIONS, Activation, NetworkClassifier
from samples import digits, example_entries

DATA = digits()
X, Y = DATA.x_train[:300], DATA.y_train[:300]
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def quick(**options: object) -> NetworkClassifier:
    return NetworkClassifier(
        **{"hidden_sizes": (16,), "learning_rate": 0.01, "epochs": 5, "random_state": 0, **options}
    )


def test_the_defaults_are_the_stated_ones() -> None:
    assert NetworkClassifier().get_params() == {
        "hidden_sizes": (64, 64, 64),
        "activation": "tanh",
        "weight_init": "xavier",
        "loss": "cross_entropy",
        "optimizer": "nadam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 10,
        "random_state": None,
    }


@pytest.mark.parametrize("options", [{}, {"activation": "relu", "optimizer": "adam"}])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_passes_every_check_of_scikit_learn(options: dict) -> None:
    results = check_estimator(NetworkClassifier(**options), on_fail="raise")
    # One check wants an environment variable of SciPy's; scikit-learn itself leaves it out then.
    done = {r["check_name"]: r["status"] for r in results}
    done.pop("check_array_api_input", None)
    assert len(done) > 40
    assert set(done.values()) == {"passed"}
    assert not any(r["expected_to_fail"] for r in results)


def test_probabilities_labels_and_score_agree() -> None:
    model = quick().fit(X, Y)
    p = model.predict_proba(DATA.x_test)
    assert p.shape == (len(DATA.x_test), 10)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    labels = model.predict(DATA.x_test)
    assert np.array_equal(labels, model.classes_[p.argmax(axis=1)])
    assert model.score(DATA.x_test, DATA.y_test) == (labels == DATA.y_test).mean()
    assert model.score(DATA.x_test, DATA.y_test) > 0.8
    assert len(model.history_) == 5
    assert isinstance(model.network_, helpers.Network)
    assert model.n_features_in_ == 784


@pytest.mark.parametrize(
    "labels",
    [
        NAMES[Y],
        NAMES[Y].astype(object),
        Y * 7 - 20,
        Y.astype(float),
        Y % 2 == 0,
        np.where(Y < 5, "low", "high"),
        NAMES[Y % 3],
    ],
    ids=["text", "object", "numbers", "floats", "booleans", "two", "three"],
)
def test_labels_may_be_anything(labels: np.ndarray) -> None:
    model = quick(epochs=30).fit(X, labels)
    assert np.array_equal(model.classes_, np.unique(labels))
    assert model.predict_proba(X).shape == (300, len(np.unique(labels)))
    predicted = model.predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).mean() > 0.8


def test_no_hidden_layer_is_softmax_regression() -> None:
    model = quick(hidden_sizes=()).fit(X, Y)
    assert model.network_.layer_sizes == [784, 10]
    assert model.score(X, Y) > 0.8


def test_a_random_state_decides_everything() -> None:
    one, two = (quick().fit(X, Y).predict_proba(X) for _ in "ab")
    assert np.array_equal(one, two)
    assert not np.array_equal(one, quick(random_state=1).fit(X, Y).predict_proba(X))
    state = np.random.RandomState(0)
    first, second = (quick(random_state=state).fit(X, Y).predict_proba(X) for _ in "ab")
    assert not np.array_equal(first, second)


def test_a_second_fit_starts_afresh() -> None:
    model = quick()
    first = model.fit(X, Y).predict_proba(X)
    assert np.array_equal(model.fit(X, Y).predict_proba(X), first)
    assert np.array_equal(clone(model).fit(X, Y).predict_proba(X), first)


def test_it_works_in_a_pipeline_and_a_pickle() -> None:
    model = make_pipeline(StandardScaler(), quick()).fit(X, NAMES[Y])
    assert model.score(DATA.x_test, NAMES[DATA.y_test]) > 0.7
    twin = pickle.loads(pickle.dumps(model))
    assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
    network = twin[-1].network_
    assert all(np.shares_memory(w, network.parameters) for w in network.weights)


def test_it_works_in_a_grid_search_on_two_processes() -> None:
    grid = {
        "networkclassifier__hidden_sizes": [(8,), (16, 16)],
        "networkclassifier__activation": ["tanh", "relu"],
    }
    pipeline = make_pipeline(StandardScaler(), quick(epochs=3))
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, NAMES[Y])
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.5
    assert search.predict(X[:3]).dtype == NAMES.dtype
    alone = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, NAMES[Y])
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=0.02
    )


LAMBDAS = Activation(
    lambda z, out: np.tanh(z, out=out), lambda z, a, out: np.subtract(1, a * a, out=out)
)


def test_an_entry_made_here_works_in_a_grid_search_on_two_processes(monkeypatch) -> None:
    """Their workers import the module anew, without what was added to the registries here."""
    monkeypatch.setitem(ACTIVATIONS, "mine", LAMBDAS)
    grid = {"activation": ["mine", "tanh"]}
    search = GridSearchCV(quick(epochs=2), grid, cv=2, n_jobs=2, error_score="raise").fit(X, Y)
    assert np.ptp(search.cv_results_["mean_test_score"]) == 0, "the same function by another name"


READ = """
import sys
import numpy as np, joblib
model, x = joblib.load(sys.argv[1])
np.save(sys.argv[2], model.predict_proba(x))
"""


def test_a_pickle_brings_the_entries_it_needs(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mine", LAMBDAS)
    model = quick(activation="mine", epochs=1).fit(X, Y)
    joblib.dump((model, X), tmp_path / "kept")
    command = [sys.executable, "-c", READ, tmp_path / "kept", tmp_path / "read.npy"]
    environment = {**os.environ, "PYTHONPATH": str(Path(helpers.__file__).parent)}
    subprocess.run(command, check=True, env=environment)
    assert np.array_equal(np.load(tmp_path / "read.npy"), model.predict_proba(X))


def test_a_process_of_the_same_number_is_another_process(monkeypatch) -> None:
    """In two containers both may be number 1."""
    monkeypatch.setitem(ACTIVATIONS, "mine", LAMBDAS)
    kept = pickle.dumps(quick(activation="mine", epochs=1).fit(X, Y))
    monkeypatch.delitem(ACTIVATIONS, "mine")
    monkeypatch.setattr(helpers, "_STARTED", helpers._STARTED + 1)
    assert len(pickle.loads(kept).predict_proba(X)) == len(X)


def test_a_copy_leaves_the_registries_alone(monkeypatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mine", LAMBDAS)
    model = quick(activation="mine", epochs=1).fit(X, Y)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert ACTIVATIONS["mine"] is LAMBDAS


@pytest.mark.parametrize("kind", ["activation", "weight_init", "loss", "optimizer"])
def test_every_name_in_a_registry_works(kind: str) -> None:
    from samples import REGISTRIES

    with example_entries():
        for name in REGISTRIES[kind]:
            model = quick(epochs=1, **{kind: name}).fit(X[:40], Y[:40])
            assert np.isfinite(model.predict_proba(X)).all()


def test_the_example_entries_work_together() -> None:
    with example_entries() as names:
        assert quick(epochs=20, learning_rate=1e-3, **names).fit(X, Y).score(X, Y) > 0.5
        grid = {"activation": ["tanh", names["activation"]], "optimizer": [names["optimizer"]]}
        search = GridSearchCV(quick(epochs=1), grid, cv=2, error_score="raise")
        assert search.fit(X[:80], Y[:80]).best_score_ > 0


def test_an_optimizer_may_be_an_instance_and_stays_as_it_was() -> None:
    """scikit-learn's rule: fit changes no parameter, and cross-validation's folds share nothing."""
    rule = helpers.OPTIMIZERS["nadam"](learning_rate=0.01)
    model = quick(optimizer=rule)
    first = model.fit(X, Y).predict_proba(X)
    assert np.array_equal(model.fit(X, Y).predict_proba(X), first)
    scores = cross_val_score(model, X, Y, cv=2, error_score="raise")
    assert (scores > 0.5).all()


def test_a_run_that_diverges_never_predicts_nan() -> None:
    for epochs in (1, 3):
        model = quick(
            activation="relu",
            hidden_sizes=(16, 16),
            optimizer="sgd",
            learning_rate=1e300,
            epochs=epochs,
            batch_size=300,
        )
        with pytest.raises(helpers.Diverged):
            model.fit(X.astype(float), Y)


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────


def test_one_hidden_layer_may_be_given_as_a_number() -> None:
    assert quick(hidden_sizes=5).fit(X, Y).network_.layer_sizes[1:-1] == [5]
    assert quick(hidden_sizes=()).fit(X, Y).network_.layer_sizes[1:-1] == []


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("activation", "swish", "sigmoid, tanh, relu, identity"),
        ("weight_init", "glorot", "xavier"),
        ("loss", "hinge", "squared_error"),
        ("optimizer", "adamw", "nadam"),
        ("hidden_sizes", (0,), "positive integers"),
        ("hidden_sizes", (2.5,), "positive integers"),
        ("hidden_sizes", (-3,), "positive integers"),
        ("learning_rate", 0, "learning_rate"),
        ("weight_decay", -1, "weight_decay"),
        ("batch_size", 0, "batch_size"),
        ("epochs", 1.5, "epochs"),
        ("random_state", "a", "RandomState"),
    ],
)
def test_settings_that_cannot_be_are_refused(argument: str, value, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        quick(**{argument: value}).fit(X, Y)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X[:0], Y[:0], "0 sample"),
        (np.where(X[0, 100] == X, np.nan, X), Y, "NaN"),
        (np.full_like(X, np.inf), Y, "inf"),
        (X, Y[:-1], "inconsistent"),
        (X, np.linspace(0, 1, 300), "Unknown label type"),
        (X[0], Y, "2D"),
    ],
    ids=["empty", "nan", "infinity", "length", "continuous", "one-row"],
)
def test_data_that_cannot_be_are_refused(x: np.ndarray, y: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        quick().fit(x, y)


def test_prediction_wants_the_same_width_and_a_fit() -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        quick().predict(X)
    with pytest.raises(ValueError, match="784"):
        quick(epochs=1).fit(X, Y).predict(X[:, :9])
