"""Right answers to every exercise, written in other ways than ours: by loops, lists, float32."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

RIGHT: dict[str, list] = {}


def right(name):
    def keep(function):
        RIGHT.setdefault(name, []).append(function)
        return function
    return keep


@right("one_of_each")
def _(y):
    return np.unique(y, return_index=True)[1]


@right("one_of_each")
def _(y):
    labels = list(y)
    return [labels.index(k) for k in sorted(set(labels))]


@right("one_of_each")
def _(y):
    found = {}
    for i, label in enumerate(y):
        found.setdefault(int(label), i)
    return tuple(found[k] for k in range(len(found)))


@right("stratified_split")
def _(y, fraction, rng):
    train, val = [], []
    for k in range(int(y.max()) + 1):
        members = [i for i in range(len(y)) if y[i] == k]
        rng.shuffle(members)
        cut = int(np.rint(fraction * len(members)))
        val += members[:cut]
        train += members[cut:]
    return train, val


@right("stratified_split")
def _(y, fraction, rng):
    held = np.zeros(len(y), bool)
    for k in np.unique(y):
        members = np.where(y == k)[0]
        held[rng.choice(members, int(fraction * len(members) + 0.5), replace=False)] = True
    return np.where(~held)[0], np.where(held)[0]


@right("stratified_split")
def _(y, fraction, rng):
    order = rng.permutation(len(y))
    size, taken = Counter(y.tolist()), Counter()
    parts = [], []
    for i in order:
        k = int(y[i])
        chosen = taken[k] < round(fraction * size[k])
        taken[k] += 1
        parts[chosen].append(int(i))
    return tuple(np.array(part, dtype=np.int32) for part in parts)


@right("nearest_mean")
def _(x_train, y_train, x):
    answer = []
    centres = [np.mean(x_train[y_train == k], axis=0) for k in sorted(set(y_train))]
    for image in x:
        answer.append(int(np.argmin([np.linalg.norm(image - c) for c in centres])))
    return answer


@right("nearest_mean")
def _(x_train, y_train, x):
    Y = np.eye(y_train.max() + 1)[y_train]
    means = (Y.T @ x_train / Y.sum(axis=0)[:, None]).astype(np.float32)
    x = x.astype(np.float32)
    return np.argmin((means ** 2).sum(1) - 2 * x @ means.T, axis=1)


@right("relu")
def _(z):
    return z * (z > 0)


@right("relu")
def _(z):
    return [[max(0.0, float(v)) for v in row] for row in z]


@right("relu")
def _(z):
    out = z.copy()
    out[out < 0] = 0
    return out


@right("relu")
def _(z):
    return (np.abs(z) + z) / 2


@right("tanh")
def _(z):
    return [[math.tanh(v) for v in row] for row in z]


@right("tanh")
def _(z):
    e = np.exp(-2 * np.abs(z))
    return np.sign(z) * (1 - e) / (1 + e)


@right("tanh")
def _(z):
    z = np.clip(z, -50, 50)
    return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))


@right("tanh")
def _(z):
    return np.tanh(z.astype(np.float32))


@right("sigmoid")
def _(z):
    return [[1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)) for v in row]
            for row in z]


@right("sigmoid")
def _(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


@right("sigmoid")
def _(z):
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


@right("sigmoid")
def _(z):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


@right("sigmoid")
def _(z):
    return np.exp(-np.logaddexp(0, -z.astype(np.float32)))


@right("dense")
def _(a, W, b):
    return [[sum(a[i, j] * W[j, k] for j in range(len(W))) + b[k] for k in range(len(b))]
            for i in range(len(a))]


@right("dense")
def _(a, W, b):
    return np.einsum("ni,io->no", a, W) + b[None, :]


@right("dense")
def _(a, W, b):
    return np.hstack([a, np.ones((len(a), 1))]).astype(np.float32) @ np.vstack([W, b]).astype("f4")


@right("softmax")
def _(z):
    rows = []
    for row in z:
        top = max(row)
        e = [math.exp(v - top) for v in row]
        rows.append([v / sum(e) for v in e])
    return rows


@right("softmax")
def _(z):
    z = z - np.max(z, axis=-1)[:, np.newaxis]
    return np.exp(z - np.log(np.sum(np.exp(z), axis=1, keepdims=True)))


@right("softmax")
def _(z):
    e = np.exp((z.T - z.max(1)).astype(np.float32))
    return (e / e.sum(0)).T


@right("cross_entropy")
def _(p, y):
    return sum(-math.log(p[i][y[i]]) for i in range(len(y))) / len(y)


@right("cross_entropy")
def _(p, y):
    Y = np.eye(p.shape[1], dtype=np.float32)[y]
    return -np.sum(Y * np.log(p.astype(np.float32) + 1e-8)) / p.shape[0]


@right("cross_entropy")
def _(p, y):
    return np.mean(-np.log(np.clip(np.take_along_axis(p, y[:, None], axis=1), 1e-12, 1)))


@right("squared_error")
def _(p, Y):
    total = 0.0
    for row, wanted in zip(p, Y, strict=True):
        for a, b in zip(row, wanted, strict=True):
            total += (a - b) ** 2
    return total / len(p)


@right("squared_error")
def _(p, Y):
    return np.linalg.norm((p - Y).astype(np.float32)) ** 2 / len(p)


@right("squared_error")
def _(p, Y):
    return np.mean(np.einsum("nk,nk->n", p - Y, p - Y))


@right("forward")
def _(x, weights, biases):
    a = x.astype(np.float32)
    for i in range(len(weights)):
        z = a.dot(weights[i].astype(np.float32)) + biases[i].astype(np.float32)
        a = np.tanh(z)
    e = np.exp(z - z.max(1)[:, None])
    return e / e.sum(1)[:, None]


@right("forward")
def _(x, weights, biases):
    answer = []
    for a in x:
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            a = [sum(a[i] * W[i][j] for i in range(len(W))) + b[j] for j in range(len(b))]
            if layer + 1 < len(weights):
                a = [math.tanh(v) for v in a]
        e = [math.exp(v - max(a)) for v in a]
        answer.append([v / sum(e) for v in e])
    return answer


@right("count_parameters")
def _(layer_sizes):
    total = 0
    for i in range(1, len(layer_sizes)):
        total += layer_sizes[i - 1] * layer_sizes[i]
        total += layer_sizes[i]
    return total


@right("count_parameters")
def _(layer_sizes):
    sizes = np.array(layer_sizes)
    return np.sum(sizes[1:] * (sizes[:-1] + 1))


@right("xavier")
def _(rng, fan_in, fan_out):
    return (2 * rng.random((fan_in, fan_out)) - 1) * math.sqrt(6 / (fan_in + fan_out))


@right("xavier")
def _(rng, fan_in, fan_out):
    r = (6 / (fan_in + fan_out)) ** 0.5
    return [[float(v) for v in rng.uniform(-r, r, fan_out)] for _ in range(fan_in)]


@right("xavier")
def _(rng, fan_in, fan_out):
    return np.sqrt(2 / (fan_in + fan_out)) * rng.uniform(
        -np.sqrt(3), np.sqrt(3), size=(fan_in, fan_out)).astype(np.float32)


@right("he")
def _(rng, fan_in, fan_out):
    return rng.standard_normal((fan_in, fan_out), dtype=np.float32) * math.sqrt(2 / fan_in)


@right("he")
def _(rng, fan_in, fan_out):
    return [[v / math.sqrt(fan_in / 2) for v in rng.normal(size=fan_out)] for _ in range(fan_in)]


@right("he")
def _(rng, fan_in, fan_out):
    return rng.normal(loc=0, scale=(2 / fan_in) ** 0.5, size=(fan_out, fan_in)).T


@right("cross_entropy_delta")
def _(p, Y):
    delta = p.astype(np.float32)
    delta[np.arange(len(p)), Y.argmax(axis=1)] -= 1
    return delta / p.shape[0]


@right("cross_entropy_delta")
def _(p, Y):
    rows = []
    for q, wanted in zip(p, Y, strict=True):
        J = np.diag(q) - np.outer(q, q)
        rows.append(J @ (-wanted / q) / len(p))
    return rows


@right("squared_error_delta")
def _(p, Y):
    rows = []
    for q, wanted in zip(p, Y, strict=True):
        J = np.diag(q) - np.outer(q, q)
        rows.append(J @ (2 * (q - wanted)) / len(p))
    return rows


@right("squared_error_delta")
def _(p, Y):
    p, Y = p.astype(np.float32), Y.astype(np.float32)
    J = np.einsum("ni,ij->nij", p, np.eye(p.shape[1])) - np.einsum("ni,nj->nij", p, p)
    return np.einsum("nij,nj->ni", J, 2 * (p - Y)) / len(p)


@right("squared_error_delta")
def _(p, Y):
    n, K = p.shape
    delta = [[0.0] * K for _ in range(n)]
    for i in range(n):
        for j in range(K):
            for k in range(K):
                delta[i][j] += 2 / n * (p[i, k] - Y[i, k]) * p[i, k] * ((j == k) - p[i, j])
    return delta


@right("tanh_backward")
def _(da, a):
    return da - da * a * a


@right("tanh_backward")
def _(da, a):
    return [[d * (1 - v * v) for d, v in zip(r, s, strict=True)] for r, s in zip(da, a,
                                                                                   strict=True)]


@right("tanh_backward")
def _(da, a):
    return da.astype(np.float32) * (1 + a.astype(np.float32)) * (1 - a.astype(np.float32))


@right("sigmoid_backward")
def _(da, a):
    return da * (a - a ** 2)


@right("sigmoid_backward")
def _(da, a):
    a = a.astype(np.float32)
    return np.multiply(da.astype(np.float32), np.multiply(a, 1 - a))


@right("relu_backward")
def _(da, z):
    out = np.array(da)
    out[z <= 0] = 0
    return out


@right("relu_backward")
def _(da, z):
    return np.where(z >= 0, da, 0).astype(np.float32)


@right("dense_backward")
def _(a, W, delta):
    dW = np.zeros_like(W)
    db = np.zeros(W.shape[1])
    da = np.zeros_like(a)
    for i in range(len(a)):
        dW += np.outer(a[i], delta[i])
        db += delta[i]
        da[i] = W @ delta[i]
    return dW, db, da


@right("dense_backward")
def _(a, W, delta):
    a, W, delta = (v.astype(np.float32) for v in (a, W, delta))
    return [np.einsum("ni,no->io", a, delta), np.einsum("no->o", delta),
            np.einsum("no,io->ni", delta, W)]


@right("dense_backward")
def _(a, W, delta):
    n, i, o = len(a), W.shape[0], W.shape[1]
    return ([[sum(a[m][j] * delta[m][k] for m in range(n)) for k in range(o)] for j in range(i)],
            [sum(delta[m][k] for m in range(n)) for k in range(o)],
            [[sum(delta[m][k] * W[j][k] for k in range(o)) for j in range(i)] for m in range(n)])


@right("backward")
def _(x, Y, weights, biases):
    a, kept = x, []
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        kept.append(a)
        z = a @ W + b
        a = np.tanh(z) if i < len(weights) - 1 else np.exp(z - z.max(1, keepdims=True))
    p = a / a.sum(1, keepdims=True)
    d = (p - Y) / x.shape[0]
    dWs, dbs = [None] * len(weights), [None] * len(weights)
    for i in reversed(range(len(weights))):
        dWs[i] = np.dot(kept[i].T, d)
        dbs[i] = np.sum(d, axis=0)
        d = np.dot(d, weights[i].T) * (1 - np.square(kept[i]))
    return dWs, dbs


@right("backward")
def _(x, Y, weights, biases):
    """Image by image, in float32, averaged at the end."""
    W = [w.astype(np.float32) for w in weights]
    B = [b.astype(np.float32) for b in biases]
    gW, gB = [np.zeros_like(w) for w in W], [np.zeros_like(b) for b in B]
    for image, wanted in zip(x.astype(np.float32), Y.astype(np.float32), strict=True):
        a = [image]
        for w, b in zip(W, B, strict=True):
            z = a[-1] @ w + b
            a.append(np.tanh(z))
        e = np.exp(z - z.max())
        d = e / e.sum() - wanted
        for i in range(len(W) - 1, -1, -1):
            gW[i] += np.outer(a[i], d) / len(x)
            gB[i] += d / len(x)
            d = W[i] @ d * (1 - a[i] ** 2)
    return tuple(gW), tuple(gB)


@right("numeric_gradient")
def _(f, theta, h=1e-5):
    def moved(i, by):
        other = np.array(theta)
        other[i] += by
        return f(other)
    return [(moved(i, h) - moved(i, -h)) / (2 * h) for i in range(len(theta))]


@right("numeric_gradient")
def _(f, theta, h=1e-5):
    out = np.empty_like(theta)
    for i in range(theta.size):
        theta[i] += h
        up = f(theta)
        theta[i] -= 2 * h
        down = f(theta)
        theta[i] += h
        out[i] = (up - down) / 2 / h
    return out


@right("numeric_gradient")
def _(f, theta, h=1e-5):
    steps = h * np.eye(len(theta))
    return np.array([f(theta + s) - f(theta - s) for s in steps]) / (2 * h)


@right("add_weight_decay")
def _(dW, W, weight_decay):
    return [[d + weight_decay * w for d, w in zip(a, b, strict=True)] for a, b in zip(dW, W,
                                                                                       strict=True)]


@right("add_weight_decay")
def _(dW, W, weight_decay):
    return np.add(dW, np.float32(weight_decay) * W.astype(np.float32))


@right("minibatches")
def _(n, batch_size, rng):
    order = list(range(n))
    rng.shuffle(order)
    start = 0
    while start < n:
        yield np.array(order[start:start + batch_size])
        start += batch_size


@right("minibatches")
def _(n, batch_size, rng):
    return np.split(rng.permutation(n), range(batch_size, n, batch_size))


@right("minibatches")
def _(n, batch_size, rng):
    order = rng.choice(n, size=n, replace=False).tolist()
    return tuple(order[i * batch_size:(i + 1) * batch_size] for i in range(math.ceil(
        n / batch_size)))


@right("minibatches")
def _(n, batch_size, rng):
    order = np.argsort(rng.random(n))
    return (order[i:i + batch_size] for i in range(0, n, batch_size))


@right("weighted_mean")
def _(values, sizes):
    return np.average(values, weights=sizes)


@right("weighted_mean")
def _(values, sizes):
    return sum(v * s for v, s in zip(values, sizes, strict=True)) / sum(sizes)


@right("weighted_mean")
def _(values, sizes):
    return np.float32(np.dot(values.astype(np.float32), sizes.astype(np.float32))) / np.sum(sizes)


@right("sgd")
def _(theta, g, state, learning_rate=0.01):
    return [a - learning_rate * b for a, b in zip(theta, g, strict=True)]


@right("sgd")
def _(theta, g, state, learning_rate=0.01):
    return np.add(theta, -np.float32(learning_rate) * g, dtype=np.float32)


@right("momentum")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    if "v" not in state:
        state["v"] = np.zeros_like(theta)
    state["v"] = beta * state["v"] - learning_rate * g
    return theta + state["v"]


@right("momentum")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    v = state.setdefault("velocity", np.zeros(len(theta), np.float32))
    v *= beta
    v += g
    return theta - learning_rate * v


@right("momentum")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    new = []
    old = state.get("v", [0.0] * len(theta))
    for i in range(len(theta)):
        new.append(beta * old[i] + g[i])
    state["v"] = new
    return [t - learning_rate * v for t, v in zip(theta, new, strict=True)]


@right("nesterov")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    before = state.get("v", np.zeros_like(theta))
    v = beta * before - learning_rate * g
    state["v"] = v
    return theta - beta * before + (1 + beta) * v


@right("nesterov")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    g = g.astype(np.float32)
    v = state.setdefault("v", np.zeros_like(g))
    v[:] = beta * v + g
    return theta.astype(np.float32) - learning_rate * (g + beta * v)


@right("nesterov")
def _(theta, g, state, learning_rate=0.01, beta=0.9):
    v = state["v"] if state else np.zeros_like(theta)
    state["v"] = beta * v + learning_rate * g
    return theta - (beta * state["v"] + learning_rate * g)


@right("rmsprop")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    if not state:
        state.update(cache=np.zeros_like(theta))
    state["cache"] += (1 - beta) * (g * g - state["cache"])
    return theta - learning_rate * g / (np.sqrt(state["cache"]) + epsilon)


@right("rmsprop")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    s = state.get("s", [0.0] * len(g))
    state["s"] = [beta * a + (1 - beta) * b ** 2 for a, b in zip(s, g, strict=True)]
    return [t - learning_rate * b / (math.sqrt(a) + epsilon)
            for t, b, a in zip(theta, g, state["s"], strict=True)]


@right("rmsprop")
def _(theta, g, state, learning_rate=0.01, beta=0.9, epsilon=1e-8):
    g = g.astype(np.float32)
    state["s"] = np.float32(beta) * state.get("s", 0) + np.float32(1 - beta) * g ** 2
    return theta.astype(np.float32) - learning_rate * g / (state["s"] ** 0.5 + epsilon)


@right("adam")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    if "m" not in state:
        state["m"], state["v"], state["t"] = np.zeros_like(theta), np.zeros_like(theta), 0
    state["t"] += 1
    state["m"] = beta1 * state["m"] + (1 - beta1) * g
    state["v"] = beta2 * state["v"] + (1 - beta2) * np.square(g)
    m = state["m"] / (1 - np.power(beta1, state["t"]))
    v = state["v"] / (1 - np.power(beta2, state["t"]))
    return theta - learning_rate * m / (np.sqrt(v) + epsilon)


@right("adam")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    g = g.astype(np.float32)
    m, v, t = state.get("all", (np.zeros_like(g), np.zeros_like(g), 1))
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    state["all"] = m, v, t + 1
    denominator = np.sqrt(v) / math.sqrt(1 - beta2 ** t) + epsilon
    return theta.astype(np.float32) - learning_rate / (1 - beta1 ** t) * m / denominator


@right("adam")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    past = state.setdefault("gradients", [])  # from all gradients anew
    past.append(np.array(g))
    t = len(past)
    m = sum((1 - beta1) * beta1 ** (t - 1 - i) * past[i] for i in range(t))
    v = sum((1 - beta2) * beta2 ** (t - 1 - i) * past[i] ** 2 for i in range(t))
    return theta - learning_rate * (m / (1 - beta1 ** t)) / (
        np.sqrt(v / (1 - beta2 ** t)) + epsilon)


@right("nadam")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    if not state:
        state.update(t=0, m=np.zeros_like(theta), v=np.zeros_like(theta), prod=1.0)
    state["t"] += 1
    t = state["t"]
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * 0.004))
    mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1) * 0.004))
    state["prod"] *= mu
    state["m"] = beta1 * state["m"] + (1 - beta1) * g
    state["v"] = beta2 * state["v"] + (1 - beta2) * g * g
    below = np.sqrt(state["v"] / (1 - beta2 ** t)) + epsilon
    theta = theta - learning_rate * (1 - mu) / (1 - state["prod"]) * g / below
    return theta - learning_rate * mu_next / (1 - state["prod"] * mu_next) * state["m"] / below


@right("nadam")
def _(theta, g, state, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (0.004 * t))
    g = g.astype(np.float32)
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = state.get("m", np.zeros_like(g)) * beta1 + g * (1 - beta1)
    state["v"] = state.get("v", np.zeros_like(g)) * beta2 + g ** 2 * (1 - beta2)
    product = math.prod(mu(i) for i in range(1, t + 1))
    top = mu(t + 1) * state["m"] / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return theta - learning_rate * top / (np.sqrt(state["v"] / (1 - beta2 ** t)) + epsilon)


@right("accuracy")
def _(p, y):
    return sum(int(np.argmax(row)) == k for row, k in zip(p, y, strict=True)) / len(y)


@right("accuracy")
def _(p, y):
    return np.float32(np.mean(np.equal(np.argmax(p, -1), y)))


@right("confusion_matrix")
def _(y_true, y_pred, n_classes):
    table = [[0] * n_classes for _ in range(n_classes)]
    for a, b in zip(y_true, y_pred, strict=True):
        table[a][b] += 1
    return table


@right("confusion_matrix")
def _(y_true, y_pred, n_classes):
    return np.bincount(y_true * n_classes + y_pred, minlength=n_classes ** 2).reshape(
        n_classes, n_classes)


@right("confusion_matrix")
def _(y_true, y_pred, n_classes):
    return np.eye(n_classes)[y_true].T @ np.eye(n_classes)[y_pred]


@right("precision_recall")
def _(matrix):
    with np.errstate(all="ignore"):
        return (np.nan_to_num(np.diag(matrix) / matrix.sum(axis=0)),
                np.nan_to_num(np.diag(matrix) / matrix.sum(axis=1)))


@right("precision_recall")
def _(matrix):
    k = len(matrix)
    called = [sum(matrix[i][j] for i in range(k)) for j in range(k)]
    there = [sum(matrix[i]) for i in range(k)]
    return ([matrix[i][i] / called[i] if called[i] else 0.0 for i in range(k)],
            [matrix[i][i] / there[i] if there[i] else 0.0 for i in range(k)])


@right("expected_calibration_error")
def _(p, y, bins=10):
    confidence, hit = p.max(1), p.argmax(1) == y
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@right("expected_calibration_error")
def _(p, y, bins=10):
    confidence = p.max(axis=1).astype(np.float32)
    hit = (p.argmax(axis=1) == y).astype(np.float32)
    place = np.clip(np.digitize(confidence, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    return np.abs(np.bincount(place, weights=hit - confidence, minlength=bins)).sum() / len(y)


@right("dropout")
def _(a, rate, rng):
    mask = rng.uniform(size=a.shape) < 1 - rate
    return np.where(mask, a / (1 - rate), 0.0), mask


@right("dropout")
def _(a, rate, rng):
    mask = [[bool(rng.random() >= rate) for _ in row] for row in a]
    return [[v / (1 - rate) if keep else 0.0 for v, keep in zip(row, keeps, strict=True)]
            for row, keeps in zip(a, mask, strict=True)], mask


@right("dropout")
def _(a, rate, rng):
    mask = rng.binomial(1, 1 - rate, a.shape).astype(bool)
    out = a.astype(np.float32)
    out[~mask] = 0
    return out / np.float32(1 - rate), mask


@right("convolve")
def _(images, filters):
    n, H, W, C = images.shape
    h, w, _, F = filters.shape
    out = np.zeros((n, H - h + 1, W - w + 1, F))
    for i in range(H - h + 1):
        for j in range(W - w + 1):
            out[:, i, j] = np.tensordot(images[:, i:i + h, j:j + w], filters, 3)
    return out


@right("convolve")
def _(images, filters):
    n, H, W, C = images.shape
    h, w, _, F = filters.shape
    images, filters = images.astype(np.float32), filters.astype(np.float32)
    return sum(images[:, i:H - h + 1 + i, j:W - w + 1 + j] @ filters[i, j]
               for i in range(h) for j in range(w))
