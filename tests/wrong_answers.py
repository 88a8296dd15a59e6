"""Wrong answers as students write them, not made by the catalogue's switches.

WRONG: (exercise, the names that are true of it, function). An empty set: to be refused, and not to
be named. Several names: either one, or both, may be said.
"""

from __future__ import annotations

import math

import numpy as np

WRONG: list[tuple[str, set[str], object]] = []


def wrong(exercise, *names):
    def keep(function):
        WRONG.append((exercise, set(names), function))
        return function
    return keep


def stable(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@wrong("one_of_each", "labels instead of positions")
def _(y):
    return np.unique(y)


@wrong("one_of_each", "labels instead of positions")
def _(y):
    return y[np.unique(y, return_index=True)[1]].tolist()


@wrong("one_of_each", "in the order of appearance")
def _(y):
    seen, found = [], []
    for i, label in enumerate(y):
        if label not in seen:
            seen.append(label)
            found.append(i)
    return found


@wrong("one_of_each", "the last of every class")
def _(y):
    return list({int(k): i for i, k in sorted(enumerate(y), key=lambda pair: pair[1])}.values())


@wrong("one_of_each", "stops before the last class")
def _(y):
    return [np.where(y == k)[0][0] for k in range(max(y))]


@wrong("one_of_each", "how many instead of where")
def _(y):
    return np.unique(y, return_counts=True)[1]


@wrong("stratified_split", "cuts the number off instead of rounding it")
def _(y, fraction, rng):
    val = []
    for k in range(max(y) + 1):
        members = np.where(y == k)[0]
        rng.shuffle(members)
        val.extend(members[:int(len(members) * fraction)])
    return np.array(sorted(set(range(len(y))) - set(val))), np.array(val)


@wrong("stratified_split", "the first of every class, not at random")
def _(y, fraction, rng):
    val = np.concatenate([np.where(y == k)[0][:round((y == k).sum() * fraction)]
                          for k in np.unique(y)])
    return np.delete(np.arange(len(y)), val), val


@wrong("stratified_split", "one draw over all classes")
def _(y, fraction, rng):
    order = rng.permutation(len(y))
    cut = round(len(y) * fraction)
    return order[cut:], order[:cut]


@wrong("stratified_split", "NumPy's global generator")
def _(y, fraction, rng):
    val = np.concatenate([
        np.random.permutation(np.where(y == k)[0])[:round((y == k).sum() * fraction)]  # noqa: NPY002
        for k in np.unique(y)])
    return np.setdiff1d(np.arange(len(y)), val), val


@wrong("stratified_split", "drawn with replacement", "validation images stay in training")
def _(y, fraction, rng):
    val = np.concatenate([rng.choice(np.where(y == k)[0], round((y == k).sum() * fraction))
                          for k in np.unique(y)])
    return np.setdiff1d(np.arange(len(y)), val), val


@wrong("stratified_split", "a generator of its own")
def _(y, fraction, rng):
    rng = np.random.default_rng(0)
    val = np.concatenate([rng.permutation(np.where(y == k)[0])[:round((y == k).sum() * fraction)]
                          for k in np.unique(y)])
    return np.setdiff1d(np.arange(len(y)), val), val


@wrong("stratified_split", "training and validation exchanged")
def _(y, fraction, rng):
    val = np.concatenate([rng.permutation(np.where(y == k)[0])[:round((y == k).sum() * fraction)]
                          for k in np.unique(y)])
    return val, np.setdiff1d(np.arange(len(y)), val)


@wrong("nearest_mean", "sum of absolute differences")
def _(x_train, y_train, x):
    means = [x_train[y_train == k].mean(0) for k in np.unique(y_train)]
    return [np.argmin([np.abs(v - m).sum() for m in means]) for v in x]


@wrong("nearest_mean", "the nearest image instead of the nearest mean")
def _(x_train, y_train, x):
    return [y_train[((x_train - v) ** 2).sum(axis=1).argmin()] for v in x]


@wrong("nearest_mean", "only the brightness is compared")
def _(x_train, y_train, x):
    means = [x_train[y_train == k].mean() for k in np.unique(y_train)]
    return [np.argmin([((v - m) ** 2).sum() for m in means]) for v in x]


@wrong("nearest_mean", "the farthest mean")
def _(x_train, y_train, x):
    means = [x_train[y_train == k].mean(0) for k in np.unique(y_train)]
    return [np.argmax([np.linalg.norm(v - m) for m in means]) for v in x]


@wrong("relu", "leaky")
def _(z):
    return np.maximum(0.01 * z, z)


@wrong("relu", "0 or 1")
def _(z):
    return (z > 0).astype(int)


@wrong("relu", "one maximum for the whole array")
def _(z):
    return max(0, np.max(z))


@wrong("tanh", "quotient of exponentials, nan far out")
def _(z):
    return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))


@wrong("tanh", "quotient of exponentials, nan far out")
def _(z):
    return 2 / (1 + np.exp(-2 * z)) - 1


@wrong("tanh", "quotient of exponentials, nan far out")
def _(z):
    return [[(math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v)) for v in r] for r in z]


@wrong("tanh", "half of z")
def _(z):
    return 2 / (1 + np.exp(-np.clip(z, -500, 500))) - 1


@wrong("sigmoid", "overflows far out")
def _(z):
    return 1 / (1 + np.exp(-z))


@wrong("sigmoid", "overflows far out")
def _(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))


@wrong("sigmoid", "overflows far out")
def _(z):
    return [[1 / (1 + math.exp(-v)) for v in row] for row in z]


@wrong("sigmoid", "z clipped to ±10")
def _(z):
    z = np.clip(z, -10, 10)
    return 1 / (1 + np.exp(-z))


@wrong("dense", "W transposed")
def _(a, W, b):
    return np.dot(a, W.T) + b


@wrong("dense", "bias forgotten")
def _(a, W, b):
    return np.matmul(a, W)


@wrong("dense", "a bias for each image instead of each unit")
def _(a, W, b):
    return a @ W + b.reshape(-1, 1)


@wrong("dense", "an activation applied too")
def _(a, W, b):
    return np.maximum(a @ W + b, 0)


@wrong("softmax", "no maximum subtracted")
def _(z):
    return np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)


@wrong("softmax", "no maximum subtracted")
def _(z):
    return [[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z]


@wrong("softmax", "along axis 0")
def _(z):
    e = np.exp(z - np.max(z, axis=0))
    return e / np.sum(e, axis=0)


@wrong("softmax", "along axis 0")
def _(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(0)


@wrong("softmax", "keepdims forgotten")
def _(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1)


@wrong("softmax", "keepdims forgotten")
def _(z):
    e = np.exp(z - z.max(axis=1))
    return e / e.sum(axis=1)


@wrong("softmax", "one maximum for the whole batch")
def _(z):
    e = np.exp(z - np.max(z))
    return e / e.sum(axis=1, keepdims=True)


@wrong("softmax", "one sum for the whole batch")
def _(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / np.sum(e)


@wrong("softmax", "one maximum for the whole batch", "one sum for the whole batch")
def _(z):
    e = np.exp(z - np.max(z))
    return e / e.sum()


@wrong("softmax", "no exponential, only normalised")
def _(z):
    return z / z.sum(axis=1, keepdims=True)


@wrong("softmax", "logits clipped")
def _(z):
    z = np.clip(z, -500, 500)
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


@wrong("cross_entropy", "sum instead of mean")
def _(p, y):
    return -np.log(p[range(len(y)), y]).sum()


@wrong("cross_entropy", "mean over all entries of the one-hot product")
def _(p, y):
    return -np.mean(np.eye(p.shape[1])[y] * np.log(p))


@wrong("cross_entropy", "binary form over all classes")
def _(p, y):
    Y = np.eye(p.shape[1])[y]
    return -(Y * np.log(p) + (1 - Y) * np.log(1 - p)).sum() / len(p)


@wrong("cross_entropy", "binary form over all classes")
def _(p, y):
    Y = np.eye(p.shape[1])[y]
    return -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))


@wrong("cross_entropy", "minus sign forgotten", "sum instead of mean")
def _(p, y):
    return sum(math.log(p[i, k]) for i, k in enumerate(y))


@wrong("cross_entropy", "every image with every label")
def _(p, y):
    return -np.mean(np.log(p[:, y]))


@wrong("cross_entropy", "not averaged: one loss for each image")
def _(p, y):
    return -np.log(p[np.arange(len(y)), y])


@wrong("squared_error", "mean over images and classes")
def _(p, Y):
    return np.mean((p - Y) ** 2)


@wrong("squared_error", "sum instead of mean")
def _(p, Y):
    return np.sum(np.square(Y - p))


@wrong("squared_error", "half in front")
def _(p, Y):
    return 0.5 * ((p - Y) ** 2).sum(axis=1).mean()


@wrong("squared_error", "mean over images and classes", "half in front")
def _(p, Y):
    return np.mean((p - Y) ** 2) / 2


@wrong("squared_error", "mean over images and classes", "a root over the whole")
def _(p, Y):
    return np.sqrt(((p - Y) ** 2).mean())


@wrong("squared_error", "half in front", "sum instead of mean")
def _(p, Y):
    return np.sum((Y - p) ** 2) / 2


def network(x, weights, biases, hidden, last):
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        x = hidden(x @ W + b)
    return last(x @ weights[-1] + biases[-1])


@wrong("forward", "returns the logits")
def _(x, weights, biases):
    return network(x, weights, biases, np.tanh, lambda z: z)


@wrong("forward", "sigmoid in the hidden layers")
def _(x, weights, biases):
    return network(x, weights, biases, lambda z: 1 / (1 + np.exp(-z)), stable)


@wrong("forward", "sigmoid in the hidden layers", "returns the logits")
def _(x, weights, biases):
    return network(x, weights, biases, lambda z: 1 / (1 + np.exp(-z)), lambda z: z)


@wrong("forward", "tanh in the last layer too", "returns the logits")
def _(x, weights, biases):
    for W, b in zip(weights, biases, strict=True):
        x = np.tanh(x @ W + b)
    return x


@wrong("forward", "biases never added")
def _(x, weights, biases):
    for W in weights[:-1]:
        x = np.tanh(x @ W)
    return stable(x @ weights[-1])


@wrong("forward", "hidden layers skipped")
def _(x, weights, biases):
    return stable(np.tanh(x @ weights[0] + biases[0]) @ weights[-1] + biases[-1])


@wrong("count_parameters", "weights only")
def _(sizes):
    return sum(np.multiply(sizes[1:], sizes[:-1]))


@wrong("count_parameters", "the input has biases too")
def _(sizes):
    return sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)) + sum(sizes)


@wrong("xavier", "no root")
def _(rng, fan_in, fan_out):
    limit = 6 / (fan_in + fan_out)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


@wrong("xavier", "only the positive half")
def _(rng, fan_in, fan_out):
    return rng.random((fan_in, fan_out)) * np.sqrt(6 / (fan_in + fan_out))


@wrong("xavier", "normal instead of uniform")
def _(rng, fan_in, fan_out):
    return rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), (fan_in, fan_out))


@wrong("xavier", "a generator of its own")
def _(rng, fan_in, fan_out):
    limit = np.sqrt(6 / (fan_in + fan_out))
    return np.random.default_rng(42).uniform(-limit, limit, (fan_in, fan_out))


@wrong("xavier", "fan_in alone")
def _(rng, fan_in, fan_out):
    limit = 1 / np.sqrt(fan_in)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


@wrong("he", "the variance as standard deviation")
def _(rng, fan_in, fan_out):
    return rng.normal(0, 2 / fan_in, size=(fan_in, fan_out))


@wrong("he", "1/fan_in (LeCun's)")
def _(rng, fan_in, fan_out):
    return rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)


@wrong("he", "NumPy's global generator")
def _(rng, fan_in, fan_out):
    return np.random.randn(fan_in, fan_out) * np.sqrt(2 / fan_in)  # noqa: NPY002


@wrong("he", "shape turned round")
def _(rng, fan_in, fan_out):
    return rng.standard_normal((fan_out, fan_in)) * np.sqrt(2 / fan_in)


@wrong("he", "uniform instead of normal", "only the positive half")
def _(rng, fan_in, fan_out):
    return rng.random((fan_in, fan_out)) * np.sqrt(2 / fan_in)


@wrong("he", "uniform instead of normal")
def _(rng, fan_in, fan_out):
    limit = np.sqrt(6 / fan_in)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


@wrong("cross_entropy_delta", "summed over the batch")
def _(p, Y):
    return p - Y


@wrong("cross_entropy_delta", "not through the softmax")
def _(p, Y):
    return -Y / p / len(Y)


@wrong("cross_entropy_delta", "sign turned", "summed over the batch")
def _(p, Y):
    return Y - p


@wrong("cross_entropy_delta", "divided by images and classes")
def _(p, Y):
    return (p - Y) / p.size


@wrong("squared_error_delta", "cross-entropy's shortcut")
def _(p, Y):
    return (p - Y) / len(p)


@wrong("squared_error_delta", "cross-entropy's shortcut", "summed over the batch")
def _(p, Y):
    return p - Y


@wrong("squared_error_delta", "not through the softmax")
def _(p, Y):
    return 2 * (p - Y) / p.shape[0]


@wrong("squared_error_delta", "the diagonal alone", "summed over the batch")
def _(p, Y):
    return 2 * (p - Y) * p * (1 - p)


@wrong("squared_error_delta", "the diagonal alone", "factor 2 forgotten")
def _(p, Y):
    return (p - Y) * p * (1 - p) / len(p)


@wrong("squared_error_delta", "factor 2 forgotten")
def _(p, Y):
    d = p - Y
    return p * (d - np.sum(d * p, axis=1, keepdims=True)) / len(p)


@wrong("tanh_backward", "tanh applied again")
def _(da, a):
    return da * (1 - np.tanh(a) ** 2)


@wrong("tanh_backward", "without what arrives")
def _(da, a):
    return 1 - a ** 2


@wrong("sigmoid_backward", "sigmoid applied again")
def _(da, a):
    s = 1 / (1 + np.exp(-a))
    return da * s * (1 - s)


@wrong("sigmoid_backward", "a factor lost")
def _(da, a):
    return da * (1 - a)


@wrong("relu_backward", "multiplied by ReLU itself")
def _(da, z):
    return da * np.maximum(0, z)


@wrong("relu_backward", "what arrives is handed on unchanged")
def _(da, z):
    return da * (np.maximum(z, 0) >= 0)


@wrong("relu_backward", "without what arrives")
def _(da, z):
    return np.where(z > 0, 1, 0)


@wrong("dense_backward", "W not transposed", "bias averaged")
def _(a, W, delta):
    return a.T @ delta, delta.mean(axis=0), delta @ W


@wrong("dense_backward", "W not transposed")
def _(a, W, delta):
    return a.T @ delta, delta.sum(axis=0), np.dot(delta, W)


@wrong("dense_backward", "averaged again")
def _(a, W, delta):
    n = a.shape[0]
    return 1 / n * a.T @ delta, np.sum(delta, axis=0) / n, delta @ W.T


@wrong("dense_backward", "one bias gradient for the whole layer")
def _(a, W, delta):
    return a.T @ delta, np.sum(delta), delta @ W.T


@wrong("dense_backward", "bias gradient with a row axis")
def _(a, W, delta):
    return a.T @ delta, delta.sum(axis=0, keepdims=True), delta @ W.T


@wrong("dense_backward", "made to fit with reshape")
def _(a, W, delta):
    return (delta.T @ a).reshape(W.shape), delta.sum(axis=0), delta @ W.T


@wrong("dense_backward", "another order")
def _(a, W, delta):
    return delta @ W.T, a.T @ delta, delta.sum(axis=0)


def students_backward(x, Y, weights, biases, n=None, slope=lambda a: 1 - a ** 2, transpose=True,
                      start=lambda p, Y: p - Y, end=lambda d, n: d / n):
    activations = [x]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        activations.append(np.tanh(activations[-1].dot(W) + b))
    p = stable(activations[-1].dot(weights[-1]) + biases[-1])
    d = end(start(p, Y), len(x))
    dW, db = [], []
    for i in range(len(weights) - 1, -1, -1):
        dW.append(activations[i].T.dot(d))
        db.append(d.sum(0))
        if i:
            d = d.dot(weights[i].T if transpose else weights[i]) * slope(activations[i])
    return dW[::-1], db[::-1]


@wrong("backward", "summed over the batch")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, end=lambda d, n: d)


@wrong("backward", "W not transposed: only square layers run")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, transpose=False)


@wrong("backward", "W not transposed: only square layers run", "summed over the batch")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, transpose=False, end=lambda d, n: d)


@wrong("backward", "without the activation's slope")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, slope=lambda a: 1)


@wrong("backward", "another activation's slope")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, slope=lambda a: a * (1 - a))


@wrong("backward", "tanh applied again in the slope")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, slope=lambda a: 1 - np.tanh(a) ** 2)


@wrong("backward", "sign turned")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, start=lambda p, Y: Y - p)


@wrong("backward", "last layer first")
def _(x, Y, weights, biases):
    dW, db = students_backward(x, Y, weights, biases)
    return dW[::-1], db[::-1]


@wrong("backward", "a slope too many at the end")
def _(x, Y, weights, biases):
    return students_backward(x, Y, weights, biases, start=lambda p, Y: (p - Y) * p * (1 - p))


@wrong("numeric_gradient", "all components moved together")
def _(f, theta, h=1e-5):
    return [(f(theta + h) - f(theta - h)) / (2 * h) for _ in theta]


@wrong("numeric_gradient", "one side only")
def _(f, theta, h=1e-5):
    out = []
    for i in range(len(theta)):
        other = theta.copy()
        other[i] += h
        out.append((f(other) - f(theta)) / h)
    return out


@wrong("numeric_gradient", "earlier components stay moved")
def _(f, theta, h=1e-5):
    theta = theta.copy()
    out = np.zeros_like(theta)
    for i in range(len(theta)):
        theta[i] += h
        above = f(theta)
        theta[i] -= 2 * h
        out[i] = (above - f(theta)) / (2 * h)
    return out


@wrong("numeric_gradient", "earlier components stay moved")
def _(f, theta, h=1e-5):
    out = np.zeros_like(theta)
    for i in range(len(theta)):
        theta[i] += h
        above = f(theta)
        theta[i] -= 2 * h
        out[i] = (above - f(theta)) / (2 * h)
    return out


@wrong("numeric_gradient", "divided by another width")
def _(f, theta, h=1e-5):
    e = np.eye(len(theta)) * h
    return [(f(theta + v) - f(theta - v)) / h for v in e]


@wrong("add_weight_decay", "the penalty itself added")
def _(dW, W, weight_decay):
    return dW + 0.5 * weight_decay * np.sum(W ** 2)


@wrong("add_weight_decay", "the gradient shrunk instead")
def _(dW, W, weight_decay):
    return (1 - weight_decay) * dW


@wrong("add_weight_decay", "twice")
def _(dW, W, weight_decay):
    return dW + 2 * weight_decay * W


@wrong("minibatches", "the short batch dropped")
def _(n, batch_size, rng):
    order = rng.permutation(n)
    return [order[i * batch_size:(i + 1) * batch_size] for i in range(n // batch_size)]


@wrong("minibatches", "drawn with replacement", "every batch drawn anew")
def _(n, batch_size, rng):
    return [rng.choice(n, min(batch_size, n - i)) for i in range(0, n, batch_size)]


@wrong("minibatches", "an empty batch when the size divides n")
def _(n, batch_size, rng):
    order = rng.permutation(n)
    return [order[i * batch_size:(i + 1) * batch_size] for i in range(n // batch_size + 1)]


@wrong("minibatches", "NumPy's global generator")
def _(n, batch_size, rng):
    order = np.random.permutation(n)  # noqa: NPY002
    for i in range(0, n, batch_size):
        yield order[i:i + batch_size]


@wrong("minibatches", "not shuffled")
def _(n, batch_size, rng):
    return [np.arange(i, min(i + batch_size, n)) for i in range(0, n, batch_size)]


@wrong("minibatches", "only the order of the batches")
def _(n, batch_size, rng):
    starts = rng.permutation(np.arange(0, n, batch_size))
    return [np.arange(i, min(i + batch_size, n)) for i in starts]


@wrong("weighted_mean", "divided by the number of batches")
def _(values, sizes):
    return np.mean(values)


@wrong("weighted_mean", "divided by the number of batches")
def _(values, sizes):
    return np.sum(values * sizes) / len(values)


@wrong("weighted_mean", "means added up as if they were sums")
def _(values, sizes):
    return sum(values) / sum(sizes)


@wrong("sgd", "uphill")
def _(theta, g, state, learning_rate=0.01):
    return theta + learning_rate * g


@wrong("momentum", "an average, (1−β) g")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", np.zeros_like(g)) + (1 - beta) * g
    return theta - learning_rate * state["v"]


@wrong("momentum", "steps with the old velocity")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    v = state.get("v", np.zeros_like(g))
    state["v"] = beta * v + g
    return theta - learning_rate * v


@wrong("momentum", "uphill")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", 0) - learning_rate * g
    return theta - state["v"]


@wrong("momentum", "rate squared")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", 0) + learning_rate * g
    return theta - learning_rate * state["v"]


@wrong("momentum", "velocity not kept")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    v = np.zeros_like(theta)
    v = beta * v + g
    return theta - learning_rate * v


KEPT: dict = {}


@wrong("momentum", "kept in a global, so a second run starts warm")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    KEPT["v"] = beta * KEPT.get("v", 0) + g
    return theta - learning_rate * KEPT["v"]


@wrong("nesterov", "without the look-ahead")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", 0) - learning_rate * g
    return theta + state["v"]


@wrong("nesterov", "without the look-ahead")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    v = state.setdefault("v", np.zeros_like(theta))
    before = v  # the same array, not a copy
    v *= beta
    v -= learning_rate * g
    return theta - beta * before + (1 + beta) * v


@wrong("nesterov", "an average, (1−β) g")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", 0) + (1 - beta) * g
    return theta - learning_rate * (g + beta * state["v"])


@wrong("nesterov", "theta typed for g")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    state["v"] = beta * state.get("v", 0) + g
    return theta - learning_rate * (theta + beta * state["v"])


@wrong("nesterov", "the velocity without the rate")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    old = state.get("v", 0)
    state["v"] = beta * old + g
    return theta - beta * old - learning_rate * g


@wrong("rmsprop", "new squares without 1−β")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    state["s"] = beta * state.get("s", 0) + g ** 2
    return theta - learning_rate * g / (np.sqrt(state["s"]) + epsilon)


@wrong("rmsprop", "ε in the root")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    state["s"] = beta * state.get("s", 0) + (1 - beta) * g ** 2
    return theta - learning_rate * g / np.sqrt(state["s"] + epsilon)


@wrong("rmsprop", "squares never decay")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    state["s"] = state.get("s", 0) + g ** 2
    return theta - learning_rate * g / (np.sqrt(state["s"]) + epsilon)


@wrong("rmsprop", "ε beside the fraction")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    state["s"] = beta * state.get("s", 0) + (1 - beta) * g ** 2
    return theta - learning_rate * g / np.sqrt(state["s"]) + epsilon


@wrong("rmsprop", "another β")
def _(theta, g, state, learning_rate=0.01, beta=0.99, epsilon=1e-8):
    state["s"] = beta * state.get("s", 0) + (1 - beta) * g ** 2
    return theta - learning_rate * g / (np.sqrt(state["s"]) + epsilon)


def students_adam(theta, g, state, learning_rate, first=1, root=np.sqrt, correct=True, beta1=0.9,
                  beta2=0.999, epsilon=1e-8):
    if "m" not in state:
        state.update(m=np.zeros(len(theta)), v=np.zeros(len(theta)), t=first - 1)
    state["t"] += 1
    state["m"] = beta1 * state["m"] + (1 - beta1) * g
    state["v"] = beta2 * state["v"] + (1 - beta2) * g * g
    m, v, t = state["m"], state["v"], state["t"]
    if correct:
        m, v = m / (1 - beta1 ** t), v / (1 - beta2 ** t)
    return theta - learning_rate * m / (root(v) + epsilon)


@wrong("adam", "t starts at 2")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, first=2)


@wrong("adam", "t starts at 0")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, first=np.float64(0))


@wrong("adam", "t starts at 0")
def _(theta, g, state, learning_rate=0.01):
    t = state.get("t", 0)
    state["t"] = t + 1
    rate = learning_rate / (1 - 0.9 ** t)
    return theta - rate * g


@wrong("adam", "no root")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, root=lambda v: v)


@wrong("adam", "no bias correction")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, correct=False)


@wrong("adam", "no bias correction", "no root")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, correct=False, root=lambda v: v)


@wrong("adam", "nothing kept")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, {}, learning_rate)


@wrong("adam", "another ε")
def _(theta, g, state, learning_rate=0.01):
    return students_adam(theta, g, state, learning_rate, epsilon=1e-7)


@wrong("adam", "kept in a global, so a second run starts warm")
def _(theta, g, state, learning_rate=0.01, memory={}):  # noqa: B006
    return students_adam(theta, g, memory, learning_rate)


@wrong("adam", "correction outside the root")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g ** 2
    return theta - learning_rate * state["m"] / (1 - beta1 ** t) / (
        np.sqrt(state["v"]) / (1 - beta2 ** t) + epsilon)


def students_nadam(theta, g, state, learning_rate, kind, beta1=0.9, beta2=0.999, epsilon=1e-8):
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g ** 2
    v = state["v"] / (1 - beta2 ** t)
    if kind == "ruder":
        top = beta1 * state["m"] / (1 - beta1 ** t) + (1 - beta1) * g / (1 - beta1 ** t)
    elif kind == "dozat":
        top = beta1 * state["m"] / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1 ** t)
    else:
        power = t if kind == "keras" else 0.004 * t
        step = 1 if kind == "keras" else 0.004
        mu, after = (beta1 * (1 - 0.5 * 0.96 ** k) for k in (power, power + step))
        state["p"] = state.get("p", 1) * mu
        top = after * state["m"] / (1 - state["p"] * after) + (1 - mu) * g / (1 - state["p"])
        if kind == "bare":
            v = state["v"]
    return theta - learning_rate * top / (np.sqrt(v) + epsilon)


for _kind, _name in (("ruder", "Ruder's, β₁ constant"), ("dozat", "Dozat's, β₁ constant"),
                     ("keras", "Keras's schedule, without 0.004"),
                     ("bare", "no bias correction of the squares")):
    WRONG.append(("nadam", {_name}, lambda theta, g, state, learning_rate=0.01, kind=_kind:
                  students_nadam(theta, g, state, learning_rate, kind)))


@wrong("accuracy", "more than one half for the true class")
def _(p, y):
    return np.mean(p[np.arange(len(y)), y] > 0.5)


@wrong("accuracy", "entry by entry on one-hot rows")
def _(p, y):
    return ((p > 0.5) == np.eye(p.shape[1], dtype=bool)[y]).mean()


@wrong("accuracy", "a number of images, not a share")
def _(p, y):
    return (p.argmax(1) == y).sum()


@wrong("confusion_matrix", "rows predicted, columns true")
def _(y_true, y_pred, n_classes):
    m = np.zeros((n_classes, n_classes))
    for t, p in zip(y_true, y_pred, strict=True):
        m[p, t] += 1
    return m


@wrong("confusion_matrix", "M[y_true, y_pred] += 1")
def _(y_true, y_pred, n_classes):
    m = np.zeros((n_classes, n_classes), dtype=int)
    m[y_true, y_pred] += 1
    return m


@wrong("precision_recall", "the two swapped")
def _(matrix):
    d = np.diag(matrix)
    return d / np.maximum(matrix.sum(1), 1), d / np.maximum(matrix.sum(0), 1)


@wrong("precision_recall", "0/0 not caught")
def _(matrix):
    return np.diag(matrix) / matrix.sum(0), np.diag(matrix) / matrix.sum(1)


@wrong("precision_recall", "0/0 not caught")
def _(matrix):
    k, m = len(matrix), matrix.tolist()
    return ([m[i][i] / sum(m[j][i] for j in range(k)) for i in range(k)],
            [m[i][i] / sum(m[i]) for i in range(k)])


def students_calibration(p, y, bins, gap, mean):
    confidence, hit = p.max(1), p.argmax(1) == y
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [(gap(hit[place == b].mean(), confidence[place == b].mean(), b), (place == b).mean())
            for b in range(bins) if (place == b).any()]
    return mean(np.array(gaps))


@wrong("expected_calibration_error", "plain mean over the bins")
def _(p, y, bins=10):
    return students_calibration(p, y, bins, lambda a, c, b: abs(a - c), lambda g: g[:, 0].mean())


@wrong("expected_calibration_error", "middle of the bin instead of the mean confidence")
def _(p, y, bins=10):
    return students_calibration(p, y, bins, lambda a, c, b: abs(a - (b + 0.5) / bins),
                                lambda g: (g[:, 0] * g[:, 1]).sum())


@wrong("expected_calibration_error", "1.0 belongs to no bin")
def _(p, y, bins=10):
    confidence, hit, total = p.max(1), p.argmax(1) == y, 0
    for b in range(bins):
        inside = (confidence >= b / bins) & (confidence < (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@wrong("dropout", "no scaling")
def _(a, rate, rng):
    mask = rng.random(a.shape) > rate
    return a * mask, mask


@wrong("dropout", "keeps with probability rate")
def _(a, rate, rng):
    mask = rng.random(a.shape) < rate
    return a * mask / (1 - rate), mask


@wrong("dropout", "keeps with probability rate", "divided by rate")
def _(a, rate, rng):
    mask = rng.random(a.shape) < rate
    return a * mask / max(rate, 1e-9), mask


@wrong("dropout", "mask True where dropped")
def _(a, rate, rng):
    mask = rng.random(a.shape) < rate
    return np.where(mask, 0, a / (1 - rate)), mask


@wrong("dropout", "mask of numbers")
def _(a, rate, rng):
    mask = (rng.random(a.shape) >= rate) / (1 - rate)
    return a * mask, mask


@wrong("dropout", "one mask for all images")
def _(a, rate, rng):
    mask = np.tile(rng.random(a.shape[1]) >= rate, (len(a), 1))
    return a * mask / (1 - rate), mask


@wrong("convolve", "only the first channel")
def _(images, filters):
    n, H, W, C = images.shape
    h, w, _, F = filters.shape
    out = np.zeros((n, H - h + 1, W - w + 1, F))
    for i in range(H - h + 1):
        for j in range(W - w + 1):
            patch = images[:, i:i + h, j:j + w, 0].reshape(n, -1)
            out[:, i, j] = patch @ filters[:, :, 0].reshape(h * w, F)
    return out


@wrong("convolve", "filters turned round: a true convolution")
def _(images, filters):
    n, H, W, C = images.shape
    h, w, _, F = filters.shape
    turned = np.flip(filters, axis=(0, 1))
    return sum(images[:, i:H - h + 1 + i, j:W - w + 1 + j] @ turned[i, j]
               for i in range(h) for j in range(w))


# Refused, and better not named: the mistake is nobody's, or there are three of them.
@wrong("softmax")
def _(z):
    return np.ones_like(z) / z.shape[1]


@wrong("cross_entropy")
def _(p, y):
    return 0.7


@wrong("relu")
def _(z):
    return z


@wrong("backward")
def _(x, Y, weights, biases):
    return [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]


@wrong("squared_error_delta")
def _(p, Y):
    return -(p - Y) * p * (1 - p)


@wrong("adam")
def _(theta, g, state, learning_rate=0.01):
    return theta * np.nan


@wrong("nesterov")
def _(theta, g, state, learning_rate=0.01):
    return theta
