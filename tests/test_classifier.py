"""The network as a scikit-learn classifier."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import helpers
from helpers import ACTIVATIONS, SGD, Activation, Adam, Nadam, NetworkClassifier
from samples import digits, example_entries

DATA = digits()
X, Y = DATA.x_train[:300], DATA.y_train[:300]
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def quick(**options: object) -> NetworkClassifier:
    return NetworkClassifier(
        **{"hidden_sizes": (16,), "learning_rate": 0.01, "epochs": 5, "random_state": 0, **options}
    )


# With one batch for all, the check that a weight of 2 equals an example given twice is exact.
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "relu", "optimizer": "adam"},
        {"batch_size": 1000, "optimizer": Adam(0.01)},
    ],
    ids=["defaults", "relu", "one batch"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_passes_every_check_of_scikit_learn(options: dict) -> None:
    results = check_estimator(NetworkClassifier(**options), on_fail="raise")
    # One check wants an environment variable of SciPy's; scikit-learn itself leaves it out then.
    done = {r["check_name"]: r["status"] for r in results}
    done.pop("check_array_api_input", None)
    assert "check_sample_weight_equivalence_on_dense_data" in done
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
    assert len(model.history_) == model.n_iter_ == 5
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


def test_its_numbers_are_those_of_the_network_and_of_train() -> None:
    """An integer random_state is their seed; nothing else lies between."""
    model = quick(random_state=3).fit(X, Y)
    data = dataclasses.replace(DATA, x_train=X, y_train=Y, x_val=X[:0], y_val=Y[:0])
    config = {"hidden_layers": 1, "hidden_size": 16, "learning_rate": 0.01, "epochs": 5, "seed": 3}
    network, _ = helpers.train_config(config, data)
    assert np.array_equal(model.network_.parameters, network.parameters)


def test_logarithms_of_the_probabilities() -> None:
    model = quick().fit(X, Y)
    log_p = model.predict_log_proba(X)
    np.testing.assert_array_equal(np.exp(log_p), model.predict_proba(X))
    far = log_p.min(axis=1) < -5
    assert far.any() and np.isfinite(log_p).all(), "no logarithm of a rounded 0"


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


@pytest.mark.slow
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


# ── Entries of one's own, in pickles and in other processes ───────────────────────────────────────


def tanh_value(z: np.ndarray, out: np.ndarray) -> None:
    np.tanh(z, out=out)


def tanh_slope(z: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    np.subtract(1, a * a, out=out)


def wrong_slope(z: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    np.subtract(1, a, out=out)


def half_tanh(z: np.ndarray, out: np.ndarray) -> None:
    np.tanh(0.5 * z, out=out)


MINE = Activation(tanh_value, tanh_slope)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A fitted model in a pickle, whose activation is an entry of its own session."""
    monkeypatch.setitem(ACTIVATIONS, "mine", MINE)
    return pickle.dumps(quick(activation="mine", epochs=1).fit(X, Y))


@pytest.mark.parametrize(
    "corrected",
    [
        Activation(half_tanh, tanh_slope),
        Activation(tanh_value, wrong_slope),
    ],
    ids=["another value", "another slope"],
)
def test_a_loaded_model_leaves_the_entries_as_they_are(
    kept: bytes, monkeypatch: pytest.MonkeyPatch, corrected: Activation
) -> None:
    """cloudpickle#214: loading must not undo what this session has corrected, but may warn."""
    monkeypatch.setitem(ACTIVATIONS, "mine", corrected)
    before = {kind: dict(entries) for kind, entries in helpers._registries().items()}
    with pytest.warns(UserWarning, match="'mine' of this session is not the one"):
        model = pickle.loads(kept)
    assert {kind: dict(entries) for kind, entries in helpers._registries().items()} == before
    assert np.isfinite(model.predict_proba(X)).all()


def test_the_same_entry_is_known_again_without_a_word(kept: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models = [pickle.loads(kept), copy.deepcopy(pickle.loads(kept))]
    assert np.array_equal(models[0].predict_proba(X), models[1].predict_proba(X))


def test_a_model_says_which_activation_is_missing(
    kept: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ACTIVATIONS, "mine")
    model = pickle.loads(kept)
    assert "mine" not in ACTIVATIONS
    for predict in (model.predict, model.predict_proba, model.predict_log_proba):
        with pytest.raises(ValueError, match="activation 'mine' of this model is not registered"):
            predict(X)
    ACTIVATIONS["mine"] = MINE
    assert len(model.predict(X)) == len(X)


@pytest.fixture
def fresh_workers() -> Iterator[None]:
    """joblib keeps its worker processes: what earlier tests did there must not count here."""
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    yield
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.mark.slow
def test_workers_lack_an_entry_of_ones_own_and_say_so(
    monkeypatch: pytest.MonkeyPatch, fresh_workers: None
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mine", MINE)
    grid = {"activation": ["mine", "tanh"]}

    def search(**options: object) -> GridSearchCV:
        return GridSearchCV(quick(epochs=1), grid, cv=2, **options).fit(X, Y)

    with pytest.raises(ValueError, match=r"'mine'.* worker process.* n_jobs=1.* module"):
        search(n_jobs=2, error_score="raise")
    # The workbook's own workers get the entries for the time of a task; nothing stays behind.
    found = list(helpers.in_parallel(evaluate_mine, [(X, Y), (X, Y)], workers=2))
    assert found[0] == found[1] > 0.2
    with pytest.warns(FitFailedWarning, match="n_jobs=1"):
        scores = search(n_jobs=2).cv_results_["mean_test_score"]
    assert np.isnan(scores).tolist() == [True, False]
    assert np.ptp(search(n_jobs=1).cv_results_["mean_test_score"]) == 0, "the same function"


def evaluate_mine(x: np.ndarray, y: np.ndarray) -> float:
    return quick(activation="mine").fit(x, y).score(x, y)


ENTRIES = """
import numpy as np
from helpers import ACTIVATIONS, Activation, NetworkClassifier

def value(z, out): np.tanh(z, out=out)
def slope(z, a, out): np.subtract(1, a * a, out=out)

ACTIVATIONS["mine"] = Activation(value, slope)

class WithMine(NetworkClassifier):
    pass
"""
SEARCH = """
import numpy as np
from my_entries import WithMine
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

if __name__ == "__main__":
    grid = {"activation": ["mine", "tanh"]}
    model = WithMine(8, epochs=2, random_state=0)
    search = GridSearchCV(model, grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(*load_iris(return_X_y=True))
    assert np.ptp(search.cv_results_["mean_test_score"]) == 0
"""


@pytest.mark.slow
def test_the_way_out_that_the_message_names_works(tmp_path: Path) -> None:
    (tmp_path / "my_entries.py").write_text(ENTRIES)
    (tmp_path / "search.py").write_text(SEARCH)
    paths = [str(Path(helpers.__file__).parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, tmp_path / "search.py"], check=True, env=environment)


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


# ── The optimizer and its learning rate ───────────────────────────────────────────────────────────


def test_an_optimizer_may_be_an_instance_and_stays_as_it_was() -> None:
    """scikit-learn's rule: fit changes no parameter, and cross-validation's folds share nothing."""
    rule = Nadam(learning_rate=0.01)
    model = quick(optimizer=rule, learning_rate=None)
    first = model.fit(X, Y).predict_proba(X)
    assert np.array_equal(model.fit(X, Y).predict_proba(X), first)
    assert np.array_equal(quick(optimizer="nadam").fit(X, Y).predict_proba(X), first)
    assert (rule.t, rule.get_params()["learning_rate"]) == (0, 0.01)
    scores = cross_val_score(model, X, Y, cv=2, error_score="raise")
    assert (scores > 0.5).all()


def test_an_instance_that_was_used_before_starts_afresh() -> None:
    rule = Nadam(learning_rate=0.01)
    fresh = quick(optimizer=rule, learning_rate=None).fit(X, Y).predict_proba(X)
    for _ in range(3):
        rule.step(np.ones(4), np.ones(4))
    model = quick(optimizer=rule, learning_rate=None)
    assert np.array_equal(model.fit(X, Y).predict_proba(X), fresh)
    assert np.array_equal(clone(model).fit(X, Y).predict_proba(X), fresh)


@pytest.mark.parametrize("learning_rate", [1e-5, 1e-3, 0.5])
def test_a_learning_rate_beside_an_instance_is_refused(learning_rate: float) -> None:
    """keras#17338: taken and not used, a grid over it has equal scores and a "best" one."""
    model = quick(optimizer=SGD(0.25), learning_rate=learning_rate)
    says = "learning_rate=.*optimizer=SGD.*optimizer__learning_rate"
    with pytest.raises(ValueError, match=says):
        model.fit(X, Y)


def test_the_same_learning_rate_or_none_is_fine_beside_an_instance() -> None:
    given = [quick(optimizer=SGD(0.25), learning_rate=rate).fit(X, Y) for rate in (None, 0.25)]
    named = quick(optimizer="sgd", learning_rate=0.25).fit(X, Y)
    for model in given:
        assert np.array_equal(model.network_.parameters, named.network_.parameters)


def test_a_grid_over_the_learning_rate_of_an_instance_tells_the_rates_apart() -> None:
    model = quick(optimizer=SGD(0.1), learning_rate=None)
    grid = {"optimizer__learning_rate": [1e-5, 0.5]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, Y)
    low, high = search.cv_results_["mean_test_score"]
    assert high > low + 0.2
    assert search.best_estimator_.optimizer.learning_rate == 0.5
    assert model.optimizer.learning_rate == 0.1, "the one that was given stays as it was"
    rates = {"optimizer": [SGD(1e-5), SGD(0.5)]}
    both = GridSearchCV(model, rates, cv=2, error_score="raise").fit(X, Y)
    assert both.cv_results_["mean_test_score"].tolist() == [low, high]


def test_settings_of_an_optimizer_given_by_name_are_refused() -> None:
    for optimizer in ("sgd", SGD):
        with pytest.raises(ValueError, match="optimizer__learning_rate needs an .* instance"):
            quick(optimizer=optimizer).set_params(optimizer__learning_rate=0.1)
    changed = quick().set_params(optimizer=SGD(1.0), optimizer__learning_rate=0.1)
    assert changed.optimizer.learning_rate == 0.1


def test_settings_of_an_instance_are_checked_as_in_its_constructor() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        Adam().set_params(learning_rate=-1.0)
    with pytest.raises(ValueError, match="setting of Adam must be one of .*beta1.*'gamma'"):
        Adam().set_params(gamma=1.0)


# ── Weights, validation images, stopping ──────────────────────────────────────────────────────────

WEIGHTS = np.random.default_rng(0).integers(0, 4, len(X))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_a_weight_is_how_often_an_example_counts(optimizer: str, loss: str) -> None:
    """With one batch for all, a weight of 2 is the example given twice, and 0 is none."""
    x = X.astype(float)
    options = {"optimizer": optimizer, "loss": loss, "weight_decay": 0.1, "batch_size": 10**6}
    weighted = quick(epochs=20, **options).fit(x, Y, WEIGHTS)
    rows = np.repeat(np.arange(len(X)), WEIGHTS)
    repeated = quick(epochs=20, **options).fit(x[rows], Y[rows])
    p = weighted.predict_proba(x)
    np.testing.assert_allclose(p, repeated.predict_proba(x), rtol=1e-6, atol=1e-9)
    columns = ["train_loss", "train_accuracy"]
    np.testing.assert_allclose(weighted.history_[columns], repeated.history_[columns], rtol=1e-9)
    plain = quick(epochs=20, **options).fit(x, Y)
    assert np.abs(plain.predict_proba(x) - p).max() > 1e-3, "the weights are used"


def test_a_batchs_gradient_is_that_of_the_weighted_mean_on_average() -> None:
    """Batches of 50 that share all 300 rows: the mean of their gradients is the whole gradient."""
    network = helpers.Network([784, 16, 10], seed=1, dtype=float)
    x, weights = X.astype(float), WEIGHTS / WEIGHTS.mean()
    order, total = np.random.default_rng(0).permutation(300).reshape(6, 50), 0.0
    for rows in order:
        network._backpropagate(x[rows], Y[rows], 0.0, weights[rows])
        total = total + network.gradients / 6
    repeated = np.repeat(np.arange(300), WEIGHTS)
    network.loss_and_gradient(x[repeated], Y[repeated])
    np.testing.assert_allclose(total, network.gradients, atol=1e-12)


@pytest.mark.parametrize("weight", [1, 0.37, 12.0, 1e308])
def test_equal_weights_change_nothing(weight: float) -> None:
    weighted = quick().fit(X, Y, np.full(len(X), weight))
    np.testing.assert_array_equal(weighted.predict_proba(X), quick().fit(X, Y).predict_proba(X))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (WEIGHTS - 1.0, "(?i)negative.*sample_weight"),
        (np.where(WEIGHTS > 2, np.nan, 1.0), "sample_weight contains NaN"),
        (np.where(WEIGHTS > 2, np.inf, 1.0), "sample_weight contains infinity"),
        (WEIGHTS[:-1], "sample_weight"),
        (np.ones((len(X), 1)), "(?i)sample.weight"),
        (np.zeros(len(X)), "(?i)sample.weight"),
    ],
    ids=["negative", "nan", "infinity", "length", "matrix", "zeros"],
)
def test_weights_that_cannot_be_are_refused(weights: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        quick().fit(X, Y, weights)


def test_adaboost_boosts_it() -> None:
    weak = quick(hidden_sizes=(2,), epochs=8)
    boosted = AdaBoostClassifier(weak, n_estimators=5, random_state=0).fit(X, Y)
    assert len(boosted.estimators_) == 5
    assert boosted.score(X, Y) > boosted.estimators_[0].score(X, Y)


def test_validation_images_give_their_columns() -> None:
    names = NAMES[DATA.y_val]
    model = quick().fit(X, NAMES[Y], validation=(DATA.x_val, names))
    last = model.history_.iloc[-1]
    assert last["val_accuracy"] == pytest.approx(model.score(DATA.x_val, names))
    columns = [model.classes_.tolist().index(name) for name in names]
    log_p = model.predict_log_proba(DATA.x_val)[np.arange(len(names)), columns]
    assert last["val_loss"] == pytest.approx(-log_p.mean(), rel=1e-5)
    without = quick().fit(X, NAMES[Y])
    assert without.history_["val_loss"].isna().all()
    assert np.array_equal(without.network_.parameters, model.network_.parameters)


def test_validation_may_lack_a_class_but_not_bring_one() -> None:
    few = Y < 8
    quick(epochs=1).fit(X, Y, validation=(X[few], Y[few]))
    with pytest.raises(ValueError, match="validation .* labels that occur in y.* 8, 9 do not|9, 8"):
        quick().fit(X[few], Y[few], validation=(X, Y))
    with pytest.raises(ValueError, match="'5'"):  # a text is no number
        quick().fit(X, Y, validation=(X, Y.astype(str)))


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        (X, "validation must be a pair"),
        ((X,), "validation must be a pair"),
        (0.1, "validation must be a pair"),
        ((X[:, :9], Y), "validation: .*784"),
        ((X, Y[:-1]), "validation: .*inconsistent"),
        ((np.where(X > 0, np.nan, X), Y), "validation: .*NaN"),
        ((X[:0], Y[:0]), "validation: .*0 sample"),
    ],
    ids=["array", "one", "fraction", "width", "length", "nan", "empty"],
)
def test_validation_that_cannot_be_is_refused(validation: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        quick().fit(X, Y, validation=validation)


def test_on_epoch_sees_the_network_and_may_stop() -> None:
    model, seen = quick(epochs=50), []

    def look(row: dict) -> bool:
        seen.append((row["epoch"], model.network_.parameters.copy()))
        return row["epoch"] == 3

    model.fit(X, Y, on_epoch=look)
    assert [epoch for epoch, _ in seen] == model.history_["epoch"].tolist() == [1, 2, 3]
    assert model.n_iter_ == 3
    assert np.array_equal(seen[-1][1], model.network_.parameters)
    assert np.array_equal(seen[-1][1], quick(epochs=3).fit(X, Y).network_.parameters)
    with pytest.raises(TypeError, match="on_epoch"):
        quick().fit(X, Y, on_epoch="stop")


def test_a_fit_that_fails_leaves_no_network() -> None:
    model = quick(epochs=1).fit(X, Y)
    for broken in ({"epochs": 0}, {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e300}):
        with pytest.raises((ValueError, ArithmeticError)):
            model.set_params(**broken).fit(X, Y)
        with pytest.raises(NotFittedError):
            model.predict(X)


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
        with pytest.raises(NotFittedError):
            model.predict_proba(X)


# ── Bad input ─────────────────────────────────────────────────────────────────────────────────────


def test_one_hidden_layer_may_be_given_as_a_number() -> None:
    assert quick(hidden_sizes=5).fit(X, Y).network_.layer_sizes[1:-1] == [5]
    assert quick(hidden_sizes=()).fit(X, Y).network_.layer_sizes[1:-1] == []


WRONG = {
    "hidden_sizes": [
        None, "64", b"64", 0, True, 2.5, (64.0,), (8, -1), (8, True), [[8], [4]], np.array(5),
        np.array([[8]]), np.array([8.0]), {8}, {8: 4}, (8, None), (8, "4"), float("nan"),
    ],
    "activation": [None, "swish", 3, ["tanh", "relu"], [], ("swish",), np.tanh, np.array(["tanh"])],
    "weight_init": [None, "glorot", ["xavier"], 0, np.zeros],
    "loss": [None, "hinge", ["cross_entropy"], 1],
    "optimizer": [None, "adamw", SGD, 0.1, ["sgd"], {}],
    "learning_rate": [0, -0.1, float("nan"), float("inf"), "fast", True, (0.1,), np.array([0.1])],
    "weight_decay": [None, -1, float("nan"), float("inf"), "no", True],
    "batch_size": [None, 0, -1, 1.5, "32", True, float("nan"), (32,)],
    "epochs": [None, 0, 1.5, "10", True, float("inf"), [10]],
    "random_state": ["a", -1, 2**32, 1.5, True, (1,), np.random.default_rng(0)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "value"),
    [(argument, value) for argument, values in WRONG.items() for value in values],
    ids=str,
)
def test_a_setting_that_cannot_be_is_named_before_any_work(argument: str, value: object) -> None:
    """By the name that the caller used, whatever the data are."""
    with pytest.raises((ValueError, TypeError), match=f"^{argument} ") as caught:
        quick(**{argument: value}).fit("no data", None)
    assert "layer_sizes" not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("hidden_sizes", np.int64(4)),
        ("hidden_sizes", [4, np.int32(3)]),
        ("hidden_sizes", np.array([4, 3])),
        ("hidden_sizes", range(2, 4)),
        ("activation", ["relu"]),
        ("learning_rate", np.float32(0.01)),
        ("learning_rate", 1),
        ("weight_decay", np.float64(0)),
        ("batch_size", np.int64(16)),
        ("random_state", np.int64(3)),
        ("random_state", np.random.RandomState(0)),
        ("random_state", None),
    ],
    ids=str,
)
def test_what_numpy_makes_of_numbers_is_taken(argument: str, value: object) -> None:
    model = quick(epochs=1, **{argument: value}).fit(X[:40], Y[:40])
    assert np.isfinite(model.predict_proba(X)).all()


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
    with pytest.raises(NotFittedError):
        quick().predict(X)
    with pytest.raises(ValueError, match="784"):
        quick(epochs=1).fit(X, Y).predict(X[:, :9])


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh"])
def test_rows_that_overflow_have_no_probabilities(activation: str) -> None:
    """Never NaN: a row so large that the sums overflow is refused."""
    model = quick(activation=activation, hidden_sizes=(16, 16), epochs=1).fit(X, Y)
    huge = X[:3].copy()
    huge[1] = 3e38
    if activation == "tanh":  # bounded: infinity becomes 1
        assert np.isfinite(model.predict_proba(huge)).all()
        return
    for predict in (model.predict, model.predict_proba, model.predict_log_proba):
        with pytest.raises(helpers.Diverged, match="too large for float32"):
            predict(huge)
    with pytest.raises(ValueError, match="too large for dtype"):
        model.predict(np.full((1, 784), 1e300))


def test_sparse_rows_and_several_labels_are_refused() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="[Ss]parse"):
        quick().fit(csr_array(X), Y)
    with pytest.raises(ValueError, match="1d array"):
        quick().fit(X, np.stack([Y, Y], axis=1))
