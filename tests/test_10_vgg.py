"""Notebook 10's own code: VGG16 and its weights, what is frozen, gradients of images."""

from __future__ import annotations

import builtins
import hashlib
import http.server
import io
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from notebook_code import library

torch = pytest.importorskip("torch", reason="notebook 10 needs PyTorch: pip install torch")

LOOK = ((0.1, 0.2, 0.3), (1.0, 0.5, 0.25))


@pytest.fixture(scope="module")
def book() -> SimpleNamespace:
    """Everything that the notebook's cells tagged `library` define, as attributes."""
    torch.set_num_threads(1)  # these networks are too small for more
    return library("10_vgg16_transfer")


def images(n: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 784), dtype=np.float32)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official file, written down independently of the notebook."""
    convolutions = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for place, filters in zip(places, convolutions, strict=True):
        shapes[f"features.{place}.weight"] = (filters, channels, 3, 3)
        shapes[f"features.{place}.bias"] = (filters,)
        channels = filters
    for place, fan_in, fan_out in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        shapes[f"classifier.{place}.weight"] = (fan_out, fan_in)
        shapes[f"classifier.{place}.bias"] = (fan_out,)
    return shapes


def made_up(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """A state dict of these shapes, each weight filled with its own number; takes no memory."""
    return {name: torch.full((1,), float(i)).expand(shape)
            for i, (name, shape) in enumerate(shapes.items(), 1)}


def on_meta(book: SimpleNamespace, *arguments: Any) -> Any:
    with torch.device("meta"):
        return book.vgg16(*arguments)


def small_net(book: SimpleNamespace, seed: int = 0) -> Any:
    """A stand-in of 1/32 of the width, ready to answer."""
    return book.he_start(book.vgg16(1 / 32, 10, 1), seed).eval()


# ── VGG16 and its weights ─────────────────────────────────────────────────────────────────────────


def test_names_shapes_and_order_are_those_of_the_official_file(book: SimpleNamespace) -> None:
    shapes = {name: tuple(w.shape) for name, w in on_meta(book).state_dict().items()}
    assert shapes == official_shapes() and list(shapes) == list(official_shapes())
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 138_357_544


def test_a_made_up_state_dict_loads_unchanged(book: SimpleNamespace) -> None:
    state = made_up(official_shapes())
    net = book.load_weights(on_meta(book), state)
    loaded = net.state_dict()
    assert list(loaded) == list(state) and len(loaded) == 32
    for name, weights in loaded.items():
        assert weights.device.type == "cpu" and weights.shape == state[name].shape
        assert weights.flatten()[0] == weights.flatten()[-1] == state[name].flatten()[0], name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.28.bias"), "features.28.bias is missing"),
        (lambda s: s.update(extra=s["features.0.bias"]), "extra is unknown"),
        (
            lambda s: s.update({"classifier.6.weight": s["classifier.6.weight"][:10]}),
            r"classifier.6.weight has shape \(10, 4096\), not \(1000, 4096\)",
        ),
    ],
)
def test_a_wrong_state_dict_is_refused_by_name(
    book: SimpleNamespace, change: Callable[[dict], object], message: str
) -> None:
    state = made_up(official_shapes())
    change(state)
    net = on_meta(book)
    with pytest.raises(ValueError, match=message):
        book.load_weights(net, state)
    assert all(w.device.type == "meta" for w in net.parameters()), "nothing was loaded"


def test_the_stand_in_has_the_same_shape_at_reduced_width(book: SimpleNamespace) -> None:
    full, narrow = on_meta(book).features, small_net(book).features
    assert [type(a) for a in full] == [type(b) for b in narrow] and len(full) == 31
    for a, b in zip(full, narrow, strict=True):
        if isinstance(a, book.nn.Conv2d):
            assert b.out_channels * 32 == a.out_channels
            assert (b.kernel_size, b.padding, b.stride) == ((3, 3), (1, 1), (1, 1))
    assert all(isinstance(narrow[end - 1], book.nn.MaxPool2d) for end in book.ENDS)
    assert len(book.ENDS) == 5 and book.ENDS[-1] == 31


def test_he_start_keeps_the_size_of_the_signal(book: SimpleNamespace) -> None:
    layer = book.he_start(book.vgg16(1 / 2, 10, 1), 0).features[12]
    fan_in = 9 * layer.in_channels
    assert layer.weight.var().item() == pytest.approx(2 / fan_in, rel=0.05)
    assert not layer.bias.any()
    a, b = small_net(book, 1), small_net(book, 2)
    assert not torch.equal(a.features[0].weight, b.features[0].weight)


# ── The official file ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's cache, in a folder of its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def publish(folder: Path, content: bytes, digest: str | None = None) -> str:
    """Put a file where a URL leads to it, under a name that ends in its digest."""
    digest = digest or hashlib.sha256(content).hexdigest()[:8]
    path = folder / f"vgg16-{digest}.pth"
    path.write_bytes(content)
    return path.as_uri()


def saved(book: SimpleNamespace) -> bytes:
    file = io.BytesIO()
    torch.save(small_net(book).state_dict(), file)
    return file.getvalue()


def test_weights_come_from_an_address_and_then_from_the_cache(
    book: SimpleNamespace, hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = publish(tmp_path, saved(book))
    state = book.official_weights(url)
    fresh = book.load_weights(book.vgg16(1 / 32, 10, 1), state)
    assert book.seal(fresh) == book.seal(small_net(book))
    (tmp_path / url.rsplit("/", 1)[1]).unlink()
    assert book.official_weights(url).keys() == state.keys()
    assert capsys.readouterr() == ("", ""), "nothing may be written onto the page"


def test_a_download_with_the_wrong_hash_is_refused(
    book: SimpleNamespace, hub: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match="hash"):
        book.official_weights(publish(tmp_path, saved(book), "00000000"))


def test_a_damaged_file_in_pytorchs_cache_is_refused(
    book: SimpleNamespace, hub: Path, tmp_path: Path
) -> None:
    url = publish(tmp_path, saved(book))
    book.official_weights(url)
    kept = next(hub.iterdir())
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(ConnectionError, match=f"{kept.name} in PyTorch's cache is damaged"):
        book.official_weights(url)


class Trap:
    """A pickle of it runs code where it is opened."""

    def __reduce__(self) -> tuple:
        return (exec, ("import builtins; builtins.trap_was_sprung = True",))


def test_a_file_that_would_run_code_is_refused(
    book: SimpleNamespace, hub: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match="(?i)weights.only"):
        book.official_weights(publish(tmp_path, pickle.dumps({"features.0.weight": Trap()}, 2)))
    assert not hasattr(builtins, "trap_was_sprung")


@pytest.fixture
def slow_server() -> Iterator[str]:
    """A server that announces half a gigabyte and hands out a few bytes a second."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(528 * 2**20))
            self.end_headers()
            try:
                while not stop.wait(0.05):
                    self.wfile.write(b"x" * 5_000)
            except OSError:
                pass  # the other side has gone

        def log_message(self, *arguments: Any) -> None:
            pass

    stop = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/vgg16-397923af.pth"
    stop.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_closed_door_fails_at_once(book: SimpleNamespace, hub: Path, direct: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, before = f"http://127.0.0.1:{port}/x-0.pth", 7.5
    socket.setdefaulttimeout(before)
    try:
        with pytest.raises(ConnectionError, match=f"{url} is not to be had: .*refused"):
            book.official_weights(url)
        assert socket.getdefaulttimeout() == before
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.slow
@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(
    book: SimpleNamespace, hub: Path, direct: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x-0.pth"
        with pytest.raises(ConnectionError, match="timed out"):
            book.official_weights(url)


@pytest.mark.slow
@pytest.mark.slow
def test_a_download_that_would_take_too_long_is_not_begun(
    book: SimpleNamespace, hub: Path, direct: None, slow_server: str
) -> None:
    with pytest.raises(ConnectionError, match=r"the download would take \d+ minutes"):
        book.official_weights(slow_server)
    assert not hub.exists() or not any(hub.iterdir())


# ── What the network sees ─────────────────────────────────────────────────────────────────────────


def test_padding_moves_no_pixel(book: SimpleNamespace) -> None:
    x = images()
    padded = book.pad(x)
    assert padded.shape == (6, 1, 32, 32) and padded.dtype == np.float32
    assert (padded[:, 0, 2:30, 2:30].reshape(6, 784) == x).all()
    assert padded.sum() == pytest.approx(x.sum(), rel=1e-5)


def test_each_channel_is_standardised_with_its_own_figures(book: SimpleNamespace) -> None:
    grey = torch.from_numpy(book.pad(images()))
    x = book.normalise(grey, LOOK)
    assert x.shape == (6, 3, 32, 32)
    for channel, (mean, deviation) in enumerate(zip(*LOOK, strict=True)):
        assert np.allclose(x[:, channel], (grey[:, 0] - mean) / deviation, atol=1e-6)


def test_block_features_are_what_comes_out_of_each_pooling_layer(book: SimpleNamespace) -> None:
    net, x = small_net(book), images(7)
    blocks = book.block_features(net, x, LOOK, batch=3)
    assert [b.shape for b in blocks] == [(7, 512), (7, 256), (7, 128), (7, 64), (7, 16)]
    for end, block in zip(book.ENDS, blocks, strict=True):
        assert np.allclose(block, book.through(net.features[:end], x, LOOK), atol=1e-5)


# ── Frozen is frozen ──────────────────────────────────────────────────────────────────────────────


def head_names(head: Any) -> set[str]:
    return {f"head.{name}" for name, _ in head.named_parameters()}


def test_a_step_moves_the_head_and_nothing_else(book: SimpleNamespace) -> None:
    net = small_net(book)
    frozen, head = book.freeze(net, 3), book.make_head(128, 16, 10)
    before = book.seal(frozen), book.seal(net)
    model = book.assemble(frozen, head)
    x = book.normalise(torch.from_numpy(book.pad(images(8))), LOOK)
    with_gradient, moved = book.one_step(model, x, torch.arange(8))
    assert with_gradient == moved == head_names(head)
    assert (book.seal(frozen), book.seal(net)) == before
    assert len(frozen) == 17 and not frozen.training


def test_a_layer_that_was_not_frozen_is_noticed(book: SimpleNamespace) -> None:
    frozen, head = book.freeze(small_net(book), 3), book.make_head(128, 16, 10)
    frozen[14].requires_grad_(True)
    x = book.normalise(torch.from_numpy(book.pad(images(8))), LOOK)
    with_gradient, moved = book.one_step(book.assemble(frozen, head), x, torch.arange(8))
    extra = {"features.14.weight", "features.14.bias"}
    assert with_gradient == moved == head_names(head) | extra


def test_the_seal_sees_every_weight(book: SimpleNamespace) -> None:
    net = small_net(book)
    seen = {book.seal(net)}
    for w in net.parameters():
        with torch.no_grad():
            w.view(-1)[-1] += 1e-3
        seen.add(book.seal(net))
    assert len(seen) == 33


def test_the_head_learns_and_its_rows_are_true(book: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = (rng.normal(size=(300, 20)) + 3 * np.eye(3, 20)[y]).astype(np.float32)
    seen: list[dict] = []

    def trained(seed: int) -> tuple[Any, Any]:
        head = book.make_head(20, 16, 3, 0.5, seed)
        return head, book.train_head(head, x[:200], y[:200], x[200:], y[200:], 15, 32,
                                     0.01, seed, seen.append)

    head, history = trained(1)
    assert history["epoch"].tolist() == list(range(1, 16)) and seen == history.to_dict("records")
    last = history.iloc[-1]
    assert last["val_accuracy"] > 0.85 and last["train_loss"] < history.iloc[0]["train_loss"]
    for name, part in (("train", slice(0, 200)), ("val", slice(200, 300))):
        z = book.scores(head, x[part]).numpy().astype(float)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        loss = -log_p[np.arange(len(z)), y[part]].mean()
        assert last[f"{name}_loss"] == pytest.approx(loss, rel=1e-4)
        right = (z.argmax(axis=1) == y[part]).mean()
        assert last[f"{name}_accuracy"] == pytest.approx(right)
    assert trained(1)[1].equals(history) and not trained(2)[1].equals(history)


def test_without_a_hidden_layer_the_head_is_linear(book: SimpleNamespace) -> None:
    weights = [tuple(w.shape) for w in book.make_head(20, 0, 3).parameters()]
    assert weights == [(3, 20), (3,)]


# ── Gradients of images ───────────────────────────────────────────────────────────────────────────


def test_saliency_is_the_gradient(book: SimpleNamespace) -> None:
    model = book.assemble(book.freeze(small_net(book), 3), book.make_head(128, 16, 10)).double()
    grey = torch.from_numpy(np.random.default_rng(0).random((2, 1, 32, 32)))
    places = np.random.default_rng(1).integers(0, 32, (40, 2))
    gradient = book.score_gradient(model, grey, [3, 7], LOOK).numpy()
    for image, k in enumerate((3, 7)):
        one = grey[image:image + 1]
        slopes = book.by_differences(model, one, k, LOOK, places)
        exact = gradient[image, 0][places[:, 0], places[:, 1]]
        assert np.abs(slopes).max() > 1e-4, "a zero proves nothing"
        assert np.abs(exact - slopes).max() < 1e-6 * np.abs(slopes).max() + 1e-9
        other = book.by_differences(model, one, 5, LOOK, places)
        assert np.abs(exact - other).max() > 1e-2 * np.abs(slopes).max(), "any class would do"
    assert all(w.grad is None for w in model.features.parameters())


def test_maximisation_raises_what_it_was_told_to(book: SimpleNamespace) -> None:
    net = small_net(book)
    layer, positions = 5, [2, 0, 3]
    score = book.filter_score(net.features, layer, positions)
    grown, ends = book.maximise(score, 3, LOOK, iterations=30)
    assert grown.shape == (3, 1, 32, 32) and grown.min() >= 0 and grown.max() <= 1
    x = book.normalise(torch.from_numpy(grown), LOOK)
    with torch.no_grad():
        maps = net.features[:layer + 1](x)                                    # (3, filters, ·, ·)
    for i, position in enumerate(positions):
        assert ends[i, 1] == pytest.approx(maps[i, position].mean().item(), rel=1e-4, abs=1e-6)
        assert ends[i, 1] > ends[i, 0]
    start = book.random_picture()
    none = book.maximise(score, 3, LOOK, iterations=0)[0]
    assert np.allclose(none, np.repeat(start.numpy(), 3, axis=0), atol=1e-5)
    integers = start.numpy() * 256 - 0.5
    assert np.allclose(integers, integers.round(), atol=1e-3)
    assert integers.min() < 10 and integers.max() > 245


def test_smoothing_smooths_and_classes_are_told_apart(book: SimpleNamespace) -> None:
    model = book.assemble(book.freeze(small_net(book), 3), book.make_head(128, 16, 10))
    score = book.class_score(model, range(10))
    rough, ends = book.maximise(score, 10, LOOK, iterations=40)
    smooth, _ = book.maximise(score, 10, LOOK, iterations=40, smooth=500.0)
    assert np.abs(np.diff(smooth, axis=3)).mean() < 0.7 * np.abs(np.diff(rough, axis=3)).mean()
    assert (ends[:, 1] > ends[:, 0]).all() and np.ptp(rough, axis=0).max() > 0.1


# ── Two classifiers, one exam ─────────────────────────────────────────────────────────────────────


def test_mcnemar_is_the_exact_two_sided_test(book: SimpleNamespace) -> None:
    a = np.array([True] * 10 + [False] * 2 + [True] * 30 + [False] * 8)
    b = np.array([False] * 10 + [True] * 2 + [True] * 30 + [False] * 8)
    only_a, only_b, p, (gap, low, high) = book.mcnemar(a, b)
    assert only_a == 10 and only_b == 2
    assert p == pytest.approx(2 * binom.cdf(2, 12, 0.5))
    assert gap == pytest.approx(a.mean() - b.mean())
    spread = np.std(a.astype(int) - b.astype(int)) / np.sqrt(len(a))
    assert (low, high) == pytest.approx((gap - 1.96 * spread, gap + 1.96 * spread))
    assert book.mcnemar(a, a)[2] == 1 and book.mcnemar(b, a)[:2] == (2, 10)


