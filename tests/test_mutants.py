"""The tests mean something: each of the eighteen errors, built into helpers, turns its test red.

A mutant is a function that puts an error in the place of something in helpers.py, by replacing a
function, a method or a registry's entry; nothing here depends on how helpers.py is written. With it
in place, the test of its number in test_get_right.py has to fail.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import helpers
import samples
import test_get_right
from helpers import ACTIVATIONS, LOSSES, OPTIMIZERS, WEIGHT_INITS, Activation, Loss, Network

Patch = pytest.MonkeyPatch
Array = np.ndarray


class Mutant(NamedTuple):
    number: int  # of the error, and of the test that must see it
    install: Callable[[Patch], None]
    shown_by: type[Exception]  # any other exception is a slip of the mutant and proves nothing


MUTANTS: list[Mutant] = []


def error(number: int, shown_by: type[Exception] = AssertionError) -> Callable:
    """Enter a function that installs an error of this number."""

    def enter(install: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS.append(Mutant(number, install, shown_by))
        return install

    return enter


def replace_function(patch: Patch, name: str, function: Callable) -> None:
    """Put a function in the place of one of helpers, also where the tests have imported it."""
    patch.setattr(helpers, name, function)
    if hasattr(test_get_right, name):
        patch.setattr(test_get_right, name, function)


def after_backpropagation(patch: Patch, change: Callable[[Network, Array, float], None]) -> None:
    """Change the gradient after each backpropagation; change gets network, x and weight decay."""
    original = Network._backpropagate

    def backpropagate(
        self: Network, x: Array, y: Array, weight_decay: float, sample_weight: object = None
    ) -> float:
        loss = original(self, x, y, weight_decay)
        change(self, x, weight_decay)
        return loss

    patch.setattr(Network, "_backpropagate", backpropagate)


def weights_of(network: Network) -> Array:
    return network.parameters[: network.n_weights]


def weight_gradient_of(network: Network) -> Array:
    return network.gradients[: network.n_weights]


# ── 1. The batch is averaged once ─────────────────────────────────────────────────────────────────


@error(1)
def summed(patch: Patch) -> None:
    after_backpropagation(
        patch, lambda net, x, decay: np.multiply(net.gradients, len(x), out=net.gradients)
    )


@error(1)
def averaged_twice(patch: Patch) -> None:
    after_backpropagation(
        patch, lambda net, x, decay: np.divide(net.gradients, len(x), out=net.gradients)
    )


# ── 2. Squared error goes through the whole Jacobian of softmax ───────────────────────────────────


def squared_error_with(patch: Patch, delta: Callable[[Array, Array, Array], None]) -> None:
    patch.setitem(LOSSES, "squared_error", Loss(LOSSES["squared_error"].value, delta))


@error(2)
def the_diagonal_alone(patch: Patch) -> None:
    def delta(p: Array, y: Array, out: Array) -> None:
        out[:] = 2 * (p - np.eye(p.shape[1])[y]) * p * (1 - p)

    squared_error_with(patch, delta)


@error(2)
def the_delta_of_cross_entropy(patch: Patch) -> None:
    def delta(p: Array, y: Array, out: Array) -> None:
        out[:] = 2 * (p - np.eye(p.shape[1])[y])

    squared_error_with(patch, delta)


# ── 3. A derivative is taken at the value it was written for ──────────────────────────────────────


def derivative_at_z(patch: Patch, name: str) -> None:
    function, derivative = ACTIVATIONS[name]
    patch.setitem(ACTIVATIONS, name, Activation(function, lambda z, a, out: derivative(z, z, out)))


@error(3)
def sigmoids_derivative_at_z(patch: Patch) -> None:
    derivative_at_z(patch, "sigmoid")


@error(3)
def tanhs_derivative_at_z(patch: Patch) -> None:
    derivative_at_z(patch, "tanh")


@error(3)
def one_cache_for_all_layers(patch: Patch) -> None:
    function, derivative = ACTIVATIONS["tanh"]
    cache = []

    def remember(z: Array, out: Array) -> None:
        function(z, out)
        cache[:] = [z.copy(), out.copy()]

    def at_what_was_remembered(z: Array, a: Array, out: Array) -> None:
        derivative(*(cache if cache[0].shape == z.shape else (z, a)), out)

    patch.setitem(ACTIVATIONS, "tanh", Activation(remember, at_what_was_remembered))


# ── 4. ReLU passes nothing back at zero or below ──────────────────────────────────────────────────


@error(4)
def relus_slope_where_the_output_is_not_negative(patch: Patch) -> None:
    relu = ACTIVATIONS["relu"].function
    patch.setitem(
        ACTIVATIONS, "relu", Activation(relu, lambda z, a, out: np.greater_equal(a, 0, out=out))
    )


@error(4)
def relus_slope_is_one_at_zero(patch: Patch) -> None:
    relu = ACTIVATIONS["relu"].function
    patch.setitem(
        ACTIVATIONS, "relu", Activation(relu, lambda z, a, out: np.greater_equal(z, 0, out=out))
    )


# ── 5. Delta goes back through the weights that gave the loss ─────────────────────────────────────


@error(5)
def delta_goes_through_updated_weights(patch: Patch) -> None:
    original = Network._backpropagate

    def backpropagate(
        self: Network, x: Array, y: Array, weight_decay: float, sample_weight: object = None
    ) -> float:
        loss = original(self, x, y, weight_decay)
        inputs, zs = [x], []
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            zs.append(inputs[-1] @ w + b)
            if layer < len(self.activation):
                inputs.append(np.empty_like(zs[-1]))
                ACTIVATIONS[self.activation[layer]].function(zs[-1], inputs[-1])
        p = helpers.softmax(zs[-1])
        delta = np.empty_like(p)
        LOSSES[self.loss].delta(p, y, delta)
        delta /= len(x)
        for layer in range(len(self.weights) - 1, -1, -1):
            self.weight_gradients[layer][:] = inputs[layer].T @ delta
            self.bias_gradients[layer][:] = delta.sum(axis=0)
            if layer:
                updated = self.weights[layer] - 0.1 * self.weight_gradients[layer]  # too early
                slope = np.empty_like(zs[layer - 1])
                ACTIVATIONS[self.activation[layer - 1]].derivative(
                    zs[layer - 1], inputs[layer], slope
                )
                delta = (delta @ updated.T) * slope
        weight_gradient_of(self)[:] += weight_decay * weights_of(self)
        return loss

    patch.setattr(Network, "_backpropagate", backpropagate)


# ── 6. t counts the steps from one ────────────────────────────────────────────────────────────────


def count_steps(patch: Patch, next_t: Callable[[int, Array], int]) -> None:
    def step(self: helpers.Optimizer, parameters: Array, gradients: Array) -> None:
        if self.t == 0:
            self.state = np.zeros((self.states, *parameters.shape), parameters.dtype)
        self.t = next_t(self.t, parameters)
        self.update(parameters, gradients)

    patch.setattr(helpers.Optimizer, "step", step)


@error(6)
def t_stands_still(patch: Patch) -> None:
    count_steps(patch, lambda t, parameters: 1)


@error(6)
def t_counts_parameters(patch: Patch) -> None:
    count_steps(patch, lambda t, parameters: t + parameters.size)


@error(6)
def t_starts_at_two(patch: Patch) -> None:
    count_steps(patch, lambda t, parameters: t + 1 if t else 2)


# ── 7. Nesterov looks ahead, and an evaluation moves nothing ──────────────────────────────────────


@error(7)
def nesterov_without_its_look_ahead(patch: Patch) -> None:
    patch.setattr(helpers.Nesterov, "update", helpers.Momentum.update)


@error(7)
def a_forward_pass_that_moves_the_weights(patch: Patch) -> None:
    original = Network.forward

    def forward(self: Network, x: Array) -> Array:
        self.parameters[:] *= 0.999
        return original(self, x)

    patch.setattr(Network, "forward", forward)


# ── 8. Nadam is the stated one, and so are the defaults ───────────────────────────────────────────


def nadam_with(patch: Patch, schedule: Callable[[float, int], float]) -> None:
    def update(self: helpers.Nadam, parameters: Array, gradients: Array) -> None:
        m, root = self.moments(gradients)
        mu, mu_next = (schedule(self.beta1, t) for t in (self.t, self.t + 1))
        self.mu_product *= mu
        step = mu_next / (1 - self.mu_product * mu_next) * m
        step += (1 - mu) / (1 - self.mu_product) * gradients
        parameters -= self.learning_rate * step / root

    patch.setattr(helpers.Nadam, "update", update)


@error(8)
def nadam_with_a_fast_schedule(patch: Patch) -> None:
    nadam_with(patch, lambda beta, t: beta * (1 - 0.5 * 0.96**t))


@error(8)
def nadam_without_a_schedule(patch: Patch) -> None:
    nadam_with(patch, lambda beta, t: beta)


@error(8)
def keras_epsilon(patch: Patch) -> None:
    patch.setitem(OPTIMIZERS, "adam", functools.partial(helpers.Adam, epsilon=1e-7))


@error(8)
def pytorchs_beta_of_rmsprop(patch: Patch) -> None:
    patch.setitem(OPTIMIZERS, "rmsprop", functools.partial(helpers.RMSprop, beta=0.99))


# ── 9. Weight decay is on weights alone, once and with its sign ───────────────────────────────────


@error(9)
def decay_with_the_wrong_sign(patch: Patch) -> None:
    def change(network: Network, x: Array, decay: float) -> None:
        weight_gradient_of(network)[:] -= 2 * decay * weights_of(network)

    after_backpropagation(patch, change)


@error(9)
def decay_on_biases_too(patch: Patch) -> None:
    def change(network: Network, x: Array, decay: float) -> None:
        n = network.n_weights
        network.gradients[n:] += decay * network.parameters[n:]

    after_backpropagation(patch, change)


@error(9)
def decay_that_is_never_used(patch: Patch) -> None:
    original = Network._backpropagate
    patch.setattr(
        Network, "_backpropagate", lambda self, x, y, weight_decay, *rest: original(self, x, y, 0.0)
    )


@error(9)
def decay_twice(patch: Patch) -> None:
    def change(network: Network, x: Array, decay: float) -> None:
        weight_gradient_of(network)[:] += decay * weights_of(network)

    after_backpropagation(patch, change)


# ── 10. Nothing is changed behind the caller's back, and nothing overflows ────────────────────────


@error(10, shown_by=ValueError)  # x is read-only there
def the_callers_x_is_changed(patch: Patch) -> None:
    original = Network._backpropagate

    def backpropagate(
        self: Network, x: Array, y: Array, weight_decay: float, sample_weight: object = None
    ) -> float:
        x -= x.mean()
        return original(self, x, y, weight_decay)

    patch.setattr(Network, "_backpropagate", backpropagate)


@error(10)
def what_forward_returned_is_overwritten(patch: Patch) -> None:
    original, answers = Network.forward, {}

    def forward(self: Network, x: Array) -> Array:
        found = original(self, x)
        answer = answers.setdefault((id(self), found.shape), found)
        answer[:] = found
        return answer

    patch.setattr(Network, "forward", forward)


@error(10, shown_by=FloatingPointError)
def softmax_overflows(patch: Patch) -> None:
    patch.setattr(
        helpers, "_log_softmax", lambda z: z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    )


# ── 11. Every epoch is shuffled anew, whole, and weighted by size ─────────────────────────────────


def epoch_in_order(patch: Patch, new_order: Callable[[Array, int], Array]) -> None:
    """Train each epoch in another order than the one that was drawn."""
    original = helpers._train_epoch

    def train_epoch(network, optimizer, x, y, batch_size, weight_decay, order, last_finite, *rest):
        order = new_order(order, batch_size)
        return original(network, optimizer, x, y, batch_size, weight_decay, order, last_finite)

    patch.setattr(helpers, "_train_epoch", train_epoch)


@error(11)
def never_shuffled(patch: Patch) -> None:
    epoch_in_order(patch, lambda order, batch_size: np.arange(len(order)))


@error(11)
def shuffled_once(patch: Patch) -> None:
    epoch_in_order(
        patch, lambda order, batch_size: np.random.default_rng(0).permutation(len(order))
    )


@error(11)
def the_last_batch_is_dropped(patch: Patch) -> None:
    epoch_in_order(patch, lambda order, batch_size: order[: len(order) // batch_size * batch_size])


@error(11)
def batches_are_not_weighted_by_their_size(patch: Patch) -> None:
    original = helpers._train_epoch

    def train_epoch(network, optimizer, x, y, batch_size, weight_decay, order, last_finite, *rest):
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        each = [
            original(network, optimizer, x, y, batch_size, weight_decay, batch, last_finite)
            for batch in batches
        ]
        return tuple(np.mean(each, axis=0))

    patch.setattr(helpers, "_train_epoch", train_epoch)


# ── 12. Initialisers give their variance, and no two layers are alike ─────────────────────────────


@error(12)
def xaviers_variance_in_the_limits_place(patch: Patch) -> None:
    def xavier(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
        limit = np.sqrt(2 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, (fan_in, fan_out))

    patch.setitem(WEIGHT_INITS, "xavier", xavier)


@error(12)
def layers_alike(patch: Patch) -> None:
    for name, original in list(WEIGHT_INITS.items()):
        patch.setitem(
            WEIGHT_INITS,
            name,
            lambda rng, *shape, original=original: original(np.random.default_rng(0), *shape),
        )


@error(12)
def half_of_hes_variance(patch: Patch) -> None:
    patch.setitem(
        WEIGHT_INITS,
        "he",
        lambda rng, fan_in, fan_out: rng.normal(0, np.sqrt(1 / fan_in), (fan_in, fan_out)),
    )


# ── 13. One split, and validation images teach nothing ────────────────────────────────────────────


def load_otherwise(patch: Patch, change: Callable[[helpers.Dataset], dict[str, Array]]) -> None:
    original = helpers.load_data

    def load_data(*arguments: object, **options: object) -> helpers.Dataset:
        data = original(*arguments, **options)
        return dataclasses.replace(data, **change(data))

    patch.setattr(helpers, "load_data", load_data)


@error(13)
def validation_images_among_the_training_images(patch: Patch) -> None:
    load_otherwise(
        patch,
        lambda data: {
            "x_train": np.vstack([data.x_train, data.x_val]),
            "y_train": np.append(data.y_train, data.y_val),
        },
    )


@error(13)
def validation_images_from_the_test_set(patch: Patch) -> None:
    load_otherwise(
        patch,
        lambda data: {
            "x_val": data.x_test[: len(data.x_val)],
            "y_val": data.y_test[: len(data.y_val)],
        },
    )


@error(13)
def validation_images_are_learned_from(patch: Patch) -> None:
    original = helpers.train

    def train(network: Network, data: helpers.Dataset, **options: object):
        both = dataclasses.replace(
            data,
            x_train=np.vstack([data.x_train, data.x_val]),
            y_train=np.append(data.y_train, data.y_val),
        )
        return original(network, both, **options)

    replace_function(patch, "train", train)


# ── 14. Weights that are kept are a copy ──────────────────────────────────────────────────────────


@error(14)
def a_reference_in_the_place_of_a_copy(patch: Patch) -> None:
    original = helpers.train

    def train(network: Network, data: helpers.Dataset, **options: object):
        try:
            return original(network, data, **options)
        except helpers.Diverged:
            network.parameters[:] = np.inf  # what was kept has become this, too
            raise

    replace_function(patch, "train", train)


# ── 15. Accuracy is of labels ─────────────────────────────────────────────────────────────────────


def elementwise_accuracy(network: Network, x: Array, y: Array) -> float:
    """Accuracy of one-hot rows, entry by entry: nine of ten zeros are always right."""
    return float(((network.forward(x) > 0.5) == np.eye(network.layer_sizes[-1])[y]).mean())


@error(15)
def validation_accuracy_entry_by_entry(patch: Patch) -> None:
    original = helpers.evaluate

    def evaluate(network: Network, x: Array, y: Array) -> tuple[float, float]:
        return original(network, x, y)[0], elementwise_accuracy(network, x, y)

    replace_function(patch, "evaluate", evaluate)


@error(15)
def training_accuracy_entry_by_entry(patch: Patch) -> None:
    original = helpers._train_epoch

    def train_epoch(network: Network, optimizer: object, x: Array, y: Array, *rest: object):
        loss, _ = original(network, optimizer, x, y, *rest)
        return loss, elementwise_accuracy(network, x, y)

    patch.setattr(helpers, "_train_epoch", train_epoch)


# ── 16. Every name works from every entry point ───────────────────────────────────────────────────


@error(16)
def a_name_that_stands_for_another_rule(patch: Patch) -> None:
    patch.setitem(OPTIMIZERS, "nadam", helpers.Adam)


@error(16)
def train_config_does_not_pass_the_loss_on(patch: Patch) -> None:
    original = helpers.train_config

    def train_config(config: dict, data: helpers.Dataset, **options: object):
        return original({**config, "loss": "cross_entropy"}, data, **options)

    replace_function(patch, "train_config", train_config)


@error(16)
def the_classifier_does_not_pass_the_initialiser_on(patch: Patch) -> None:
    original = helpers.NetworkClassifier.fit

    def fit(self: helpers.NetworkClassifier, X: Array, y: Array, **options: object):
        self.weight_init = "xavier"
        return original(self, X, y, **options)

    patch.setattr(helpers.NetworkClassifier, "fit", fit)


# ── 17. The loss that is reported is the one whose gradient is used ───────────────────────────────


@error(17)
def half_of_the_squared_error(patch: Patch) -> None:
    value, delta = LOSSES["squared_error"]
    patch.setitem(
        LOSSES, "squared_error", Loss(lambda p, log_p, y: 0.5 * value(p, log_p, y), delta)
    )


def penalty_times(patch: Patch, factor: float) -> None:
    original = Network.loss_and_gradient

    def loss_and_gradient(self: Network, x: Array, y: Array, weight_decay: float = 0.0) -> float:
        penalty = 0.5 * weight_decay * float(weights_of(self) @ weights_of(self))
        return original(self, x, y, weight_decay) + (factor - 1) * penalty

    patch.setattr(Network, "loss_and_gradient", loss_and_gradient)


@error(17)
def the_penalty_without_its_half(patch: Patch) -> None:
    penalty_times(patch, 2)


@error(17)
def the_penalty_left_out(patch: Patch) -> None:
    penalty_times(patch, 0)


# ── 18. Rows are the true class, and the axes say so ──────────────────────────────────────────────


@error(18)
def axes_that_say_the_opposite(patch: Patch) -> None:
    original = helpers.plot_confusion_matrix

    def plot(matrix: Array, *rest: object):
        figure = original(matrix, *rest)
        axis = figure.axes[0]
        axis.set(xlabel=axis.get_ylabel(), ylabel=axis.get_xlabel())
        return figure

    patch.setattr(helpers, "plot_confusion_matrix", plot)


@error(18)
def a_picture_that_is_transposed(patch: Patch) -> None:
    original = helpers.plot_confusion_matrix
    patch.setattr(
        helpers,
        "plot_confusion_matrix",
        lambda matrix, *rest: original(np.transpose(matrix), *rest),
    )


# ── The tests ─────────────────────────────────────────────────────────────────────────────────────


def test_of(number: int) -> Callable[[], None]:
    """The function in test_get_right.py that tests for the error of this number."""
    (found,) = (
        function
        for name, function in vars(test_get_right).items()
        if name.startswith(f"test_error_{number:02d}_")
    )
    return found


test_of.__test__ = False


def test_every_error_has_a_mutant() -> None:
    errors = {name for name in vars(test_get_right) if name.startswith("test_error_")}
    assert {mutant.number for mutant in MUTANTS} == set(range(1, len(errors) + 1))


@pytest.fixture
def fresh_digits():
    """Digits that are loaded with the mutant, and are forgotten afterwards."""
    samples.digits.cache_clear()
    yield
    samples.digits.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.number:02d}-{m.install.__name__}")
def test_the_mutant_turns_its_test_red(mutant: Mutant, fresh_digits: None) -> None:
    test = test_of(mutant.number)
    with pytest.MonkeyPatch.context() as patch:
        mutant.install(patch)
        with pytest.raises(mutant.shown_by):
            test()
