"""Notebook 11's own code: patches, convolution, the encoder, transformations."""

from __future__ import annotations

import socket
import urllib.error
from types import SimpleNamespace

import numpy as np
import pytest

from notebook_code import library

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def book() -> SimpleNamespace:
    """Everything that the notebook's cells tagged `library` define, as attributes."""
    return library("11_cifar10_features")


@pytest.fixture
def images() -> np.ndarray:
    """Twelve pictures of 10×10 pixels in three colours."""
    return np.random.default_rng(0).random((12, 10, 10, 3), dtype=np.float32)


# ── Transformations ───────────────────────────────────────────────────────────────────────────────


def test_every_transformation_keeps_shape_type_and_range(book, images):
    n, before = len(images), images.copy()
    results = {
        "rotate": book.rotate(images, np.linspace(-40, 40, n)),
        "flip": book.flip(images),
        "blur": book.blur(images),
        "contrast": book.contrast(images, np.linspace(0, 4, n)),
        "transformed": book.transformed(images, np.random.default_rng(1))[0],
    }
    for name, result in results.items():
        assert (result.shape, result.dtype) == (images.shape, images.dtype), name
        assert result.min() >= -1e-6 and result.max() <= 1 + 1e-6, name
        assert not np.array_equal(result, images), name
    assert np.array_equal(images, before), "the originals must stay as they are"


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4])
def test_rotation_by_right_angles_is_rot90(book, images, quarters):
    turned = book.rotate(images, np.full(len(images), 90.0 * quarters))
    assert np.allclose(turned, np.rot90(images, quarters, axes=(1, 2)), atol=1e-5)


def test_rotation_is_anticlockwise_and_repeats_the_edge(book):
    dot = np.zeros((1, 9, 9, 1), np.float32)
    dot[0, 4, 7] = 1  # right of the centre
    turned = book.rotate(dot, np.array([45.0]))
    row, column = np.argwhere(turned[0, ..., 0] > 0.2).mean(axis=0)
    assert row < 4 and column > 4, "the dot has not moved up"
    assert np.allclose(book.rotate(np.full_like(dot, 0.7), np.array([33.0])), 0.7, atol=1e-6)


def test_every_image_is_turned_by_its_own_angle(book, images):
    angles = np.linspace(-30, 30, len(images))
    together = book.rotate(images, angles)
    for image, angle, turned in zip(images, angles, together, strict=True):
        assert np.allclose(book.rotate(image[None], np.array([angle]))[0], turned, atol=1e-6)


def test_flip(book, images):
    assert np.array_equal(book.flip(book.flip(images)), images)
    assert np.array_equal(book.flip(images)[:, :, 0], images[:, :, -1])


def test_blur_smooths_each_colour_alone(book, images):
    grey = np.full_like(images, 0.3)
    assert np.allclose(book.blur(grey), grey, atol=1e-6)
    assert book.blur(images).var() < images.var() / 2
    red = images.copy()
    red[..., 1:] = 0
    assert not book.blur(red)[..., 1:].any(), "colours are mixed"
    alone = book.blur(images[:1])
    assert np.allclose(book.blur(images)[:1], alone, atol=1e-6), "pictures are mixed"


def test_contrast(book, images):
    ones = np.ones(len(images), np.float32)
    assert np.allclose(book.contrast(images, ones), images, atol=1e-6)
    flat = book.contrast(images, 0 * ones)
    assert np.allclose(flat, images.mean(axis=(1, 2, 3), keepdims=True), atol=1e-6)
    half = book.contrast(images, ones / 2)
    assert np.allclose(half.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 2, rtol=1e-4)
    strong = book.contrast(images, 9 * ones)
    assert strong.min() == 0 and strong.max() == 1


def test_copies_are_what_their_kind_says_and_depend_on_the_seed_alone(book):
    images = np.random.default_rng(2).random((200, 8, 8, 1), dtype=np.float32)
    copies, kind = book.transformed(images, np.random.default_rng(5))
    again, _ = book.transformed(images, np.random.default_rng(5))
    other, _ = book.transformed(images, np.random.default_rng(6))
    assert np.array_equal(copies, again) and not np.array_equal(copies, other)
    assert (np.bincount(kind, minlength=4) > 25).all() and len(book.KINDS) == 4
    for number, change in ((1, book.flip), (2, book.blur)):
        assert np.array_equal(copies[kind == number], change(images[kind == number]))
    angles = np.abs(copies[kind == 0] - images[kind == 0]).max(axis=(1, 2, 3))
    assert (angles > 0).all()
    scale = copies[kind == 3].std(axis=(1, 2, 3)) / images[kind == 3].std(axis=(1, 2, 3))
    assert scale.min() < 0.7 and scale.max() > 1.1


# ── Convolution in NumPy ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", [1, 3, 5])
def test_convolution_against_a_plain_loop(book, side):
    rng = np.random.default_rng(side)
    a, b = rng.normal(size=(2, 6, 4, 3)), rng.normal(size=5)
    W, pad = rng.normal(size=(side, side, 3, 5)), side // 2
    expected = np.zeros((2, 6, 4, 5))
    for i, row, column in np.ndindex(2, 6, 4):
        total = b.copy()
        for down, right in np.ndindex(side, side):
            r, c = row + down - pad, column + right - pad
            if 0 <= r < 6 and 0 <= c < 4:
                total += a[i, r, c] @ W[down, right]
        expected[i, row, column] = total
    found = book.convolve(a, W.reshape(-1, 5), b, side)
    assert np.abs(found - expected).max() < 1e-12


def test_max_pool_leaves_an_odd_edge_out(book):
    a = np.arange(2 * 5 * 4 * 3, dtype=float).reshape(2, 5, 4, 3)
    pooled = book.max_pool(a)
    assert pooled.shape == (2, 2, 2, 3)
    for i, row, column, channel in np.ndindex(pooled.shape):
        square = a[i, 2 * row:2 * row + 2, 2 * column:2 * column + 2, channel]
        assert pooled[i, row, column, channel] == square.max()


def made_up_encoder(book: SimpleNamespace, colours: int = 3, seed: int = 0) -> dict:
    rng, channels = np.random.default_rng(seed), colours
    arrays = {"mean": rng.random(colours), "std": rng.random(colours) + 0.5}
    for name, filters, side, *_ in book.PLAN:
        arrays[f"{name}.W"] = rng.normal(0, 1 / side, (side * side * channels, filters)) / 8
        arrays[f"{name}.b"] = rng.normal(size=filters)
        channels = filters
    return {key: np.float32(value) for key, value in arrays.items()}


def test_features_do_not_depend_on_the_other_images(book):
    images = np.random.default_rng(1).random((35, 12, 12, 3), dtype=np.float32)
    encoder = made_up_encoder(book)
    features = book.convolution_features(images, encoder)
    assert features.shape == (35, 512) and np.ptp(features, axis=0).max() > 0
    alone = book.convolution_features(images[20:21], encoder)
    assert np.allclose(features[20], alone[0], rtol=1e-4, atol=1e-5)


def shaken(book: SimpleNamespace, colours: int) -> object:
    """An encoder whose batch normalisation is far from doing nothing."""
    torch.manual_seed(3)
    encoder = book.Encoder(colours, 10).eval()
    for norm in encoder.norms:
        for values in (norm.weight, norm.running_var):
            torch.nn.init.uniform_(values, 0.5, 1.5)
        for values in (norm.bias, norm.running_mean):
            torch.nn.init.normal_(values)
    return encoder


@needs_torch
@pytest.mark.parametrize(("colours", "side"), [(3, 32), (1, 28)])
def test_numpy_and_pytorch_agree(book, colours, side):
    encoder = shaken(book, colours)
    images = np.random.default_rng(0).random((5, side, side, colours), dtype=np.float32)
    mean, std = np.full(colours, 0.4), np.full(colours, 0.3)
    with torch.no_grad():
        x = torch.from_numpy((images - 0.4) / np.float32(0.3)).permute(0, 3, 1, 2)
        theirs = encoder.features(x).numpy()
    ours = book.convolution_features(images, book.fold(encoder, mean, std))
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@needs_torch
def test_jitter_moves_and_mirrors(book):
    ramp = np.tile(np.arange(16, dtype=np.float32)[:, None], (64, 16, 1, 1))  # brighter rightwards
    moved = book.jitter(torch.from_numpy(ramp), torch.Generator().manual_seed(0)).numpy()
    assert moved.shape == (64, 1, 16, 16)
    slope = moved[:, 0, 8, 9] - moved[:, 0, 8, 8]
    assert {-1.0, 1.0} == set(slope) and 16 < (slope > 0).sum() < 48
    assert len(set(moved[slope > 0, 0, 8, 8])) > 5, "nothing was moved"


@pytest.mark.slow
@needs_torch
def test_the_encoder_learns_and_repeats(book):
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    images = rng.normal(0, 0.3, (48, 8, 8, 1)).astype(np.float32)
    images[y == 1, 2:6] += 2  # a bar: no flip and no move makes one class the other
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learned = book.train_encoder(images, y, epochs=12, batch_size=12)
        one, two = (book.train_encoder(images, y, epochs=2, batch_size=12) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        answer = learned(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1).numpy()
    assert (answer == y).mean() > 0.9
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# ── Patches ───────────────────────────────────────────────────────────────────────────────────────


def test_patches_are_normalised(book, images):
    patches = book.patches_of(images)
    assert patches.shape == (12, 5, 5, 108)
    assert np.abs(patches.mean(axis=-1)).max() < 1e-5
    assert (patches.var(axis=-1) < 1).all() and (patches.var(axis=-1) > 0.9).all()
    brighter = book.patches_of(images * 0.5 + 0.3)  # brightness and contrast say little
    assert np.corrcoef(patches.ravel(), brighter.ravel())[0, 1] > 0.999
    assert not book.patches_of(np.ones_like(images)).any()


def test_whitening_makes_the_covariance_the_unit_matrix(book):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5000, 6)) @ rng.normal(size=(6, 6)) + 3
    mean, matrix = book.whitening(points, epsilon=0)
    assert np.allclose(np.cov(((points - mean) @ matrix).T), np.eye(6), atol=1e-8)
    assert np.allclose(matrix, matrix.T), "ZCA turns the patches back"


def test_k_means_finds_what_is_there(book):
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    points = (centres[:, None] + rng.normal(0, 0.5, (3, 100, 2))).reshape(-1, 2)
    losses = []
    for rounds in (0, 1, 10):
        found = book.k_means(points, 8, rounds)
        losses.append(((points[:, None] - found) ** 2).sum(axis=2).min(axis=1).mean())
    assert losses[0] > losses[1] >= losses[2] and losses[2] < 0.5
    assert np.isfinite(book.k_means(np.zeros((20, 2)), 4)).all(), "centroids without a point"


def test_patch_features_against_their_definition(book, images):
    mean, matrix, centroids = dictionary = book.learn_dictionary(images, k=7, amount=200)
    features = book.patch_features(images, dictionary)
    assert features.shape == (12, 28) and features.dtype == np.float32
    points = (book.patches_of(images[3:4])[0] - mean) @ matrix  # (5, 5, 108)
    active = np.zeros((5, 5, 7))
    for row, column in np.ndindex(5, 5):
        distance = np.linalg.norm(points[row, column] - centroids, axis=1)
        active[row, column] = np.maximum(distance.mean() - distance, 0)
    quarters = [active[:3, :3], active[:3, 3:], active[3:, :3], active[3:, 3:]]
    expected = np.concatenate([q.mean(axis=(0, 1)) for q in quarters])
    assert np.allclose(features[3], expected, atol=1e-4)
    assert 0.2 < (active == 0).mean() < 0.8


# ── ResNet-18 ─────────────────────────────────────────────────────────────────────────────────────


@needs_torch
def test_resnet18_has_the_published_names_and_shapes(book):
    net = book.ResNet18()
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == 11_689_512
    assert len(state) == 122
    shapes = {"conv1.weight": (64, 3, 7, 7), "bn1.running_var": (64,), "fc.weight": (1000, 512),
              "layer1.0.conv1.weight": (64, 64, 3, 3),
              "layer2.0.downsample.0.weight": (128, 64, 1, 1),
              "layer3.0.downsample.1.running_mean": (256,), "layer4.1.bn2.bias": (512,)}
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert not any("layer1.0.downsample" in name for name in state)
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    features = book.resnet_features(images, net.eval(), side=64)
    assert features.shape == (2, 512) and (features >= 0).all() and features.any()


@needs_torch
def test_resnet18_loads_a_checked_file_and_fails_fast(book, monkeypatch, tmp_path):
    made_up, asked = book.ResNet18().state_dict(), {}
    torch.nn.init.constant_(made_up["fc.bias"], 7.0)

    def fetch(url, **options):
        asked.update(options, url=url, timeout=socket.getdefaulttimeout())
        return made_up

    before = socket.getdefaulttimeout()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    net = book.load_resnet18()
    assert (net.fc.bias == 7).all() and not net.training
    assert asked["weights_only"], "a pickle may run any code"
    assert asked["check_hash"] and "resnet18-f37072fd" in asked["url"] and asked["timeout"] <= 10
    assert socket.getdefaulttimeout() == before

    for error in (urllib.error.URLError("no route"), RuntimeError("invalid hash value")):

        def refuse(url, error=error, **options):
            raise error

        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
        with pytest.raises(ConnectionError, match="out of reach"):
            book.load_resnet18()
        assert socket.getdefaulttimeout() == before
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"another file")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(ConnectionError, match="damaged"):
        book.load_resnet18()
