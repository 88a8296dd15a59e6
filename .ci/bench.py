"""Seconds an epoch beside PyTorch and scikit-learn, and the memory a training run needs.

One thread each, the same network and data, in turns, so that a busy machine slows
all of them alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before anything loads a BLAS
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import helpers  # noqa: E402

BATCH = 32
ROUNDS = 5


class Race(NamedTuple):
    """A network and a rule that all three libraries train."""

    title: str
    hidden_sizes: list[int]
    activation: str
    optimizer: str


RACES = [
    Race("4×64 tanh, Nadam (scikit-learn: Adam)", [64] * 4, "tanh", "nadam"),
    Race("notebook 08: 784-10, SGD", [], "relu", "sgd"),
    Race("notebook 09: 784-256-128-64-10 relu, SGD", [256, 128, 64], "relu", "sgd"),
]
MEMORY_SCRIPT = """
import re, resource
from pathlib import Path
import helpers
data = helpers.load_data()
network = helpers.Network([data.x_train.shape[1], 64, 64, 64, 64, 10], activation="tanh")
helpers.train(network, data, optimizer="nadam", epochs=1, progress=False)
status = Path("/proc/self/status")
if status.exists():  # Linux: getrusage would count the process that started this one
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
else:  # macOS
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def ours(race: Race, data: helpers.Dataset) -> Callable[[], float]:
    """An epoch of helpers.train; it is asked for its own `seconds`, which leave validation out."""
    network = helpers.Network(data.network_sizes(race.hidden_sizes), activation=race.activation)
    optimizer = helpers.OPTIMIZERS[race.optimizer](learning_rate=1e-3)

    def epoch() -> float:
        history = helpers.train(
            network, data, optimizer=optimizer, epochs=1, batch_size=BATCH, progress=False
        )
        return float(history["seconds"].iloc[-1])

    return epoch


def torch_epochs(race: Race, data: helpers.Dataset) -> dict[str, Callable[[], float]]:
    """An epoch of PyTorch in eager mode, for both ways of feeding batches."""
    import torch

    torch.set_num_threads(1)
    x, y = torch.from_numpy(data.x_train.copy()), torch.from_numpy(data.y_train.copy())
    generator = torch.Generator().manual_seed(0)
    activation = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[race.activation]
    rule = {"nadam": torch.optim.NAdam, "sgd": torch.optim.SGD}[race.optimizer]

    def indexed() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(BATCH):
            yield x[rows], y[rows]

    def contiguous() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(x), generator=generator)
        yield from zip(x[order].split(BATCH), y[order].split(BATCH), strict=True)

    def epoch_of(batches: Callable[[], Iterator]) -> Callable[[], float]:
        torch.manual_seed(0)
        layers: list[torch.nn.Module] = []
        *widths, classes = data.network_sizes(race.hidden_sizes)
        for fan_in, fan_out in zip(widths, widths[1:], strict=False):
            layers += [torch.nn.Linear(fan_in, fan_out), activation()]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], classes))
        optimizer = rule(model.parameters(), lr=1e-3, foreach=True)
        loss_function = torch.nn.CrossEntropyLoss()

        def epoch() -> float:
            start = time.perf_counter()
            for inputs, labels in batches():
                optimizer.zero_grad()
                loss_function(model(inputs), labels).backward()
                optimizer.step()
            return time.perf_counter() - start

        return epoch

    return {"PyTorch, indexed": epoch_of(indexed), "PyTorch, contiguous": epoch_of(contiguous)}


def sklearn_epoch(race: Race, data: helpers.Dataset) -> Callable[[], float]:
    """An epoch of scikit-learn's own network; Adam is the nearest rule it has to Nadam."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        race.hidden_sizes,
        activation=race.activation,
        solver={"nadam": "adam", "sgd": "sgd"}[race.optimizer],
        momentum=0.0,
        batch_size=BATCH,
        alpha=0.0,
        max_iter=1,
        warm_start=True,
    )

    def epoch() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is what is asked for
            start = time.perf_counter()
            model.fit(data.x_train, data.y_train)
            return time.perf_counter() - start

    return epoch


def peak_megabytes() -> float:
    """Peak memory of a process of its own that loads the data and trains one epoch."""
    command = [sys.executable, "-c", MEMORY_SCRIPT]
    child = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(child.stdout.split()[-1]) / 1e6


def run(race: Race, data: helpers.Dataset) -> None:
    """Measure in turns, print medians and ratios."""
    helpers_name = f"helpers {helpers.__version__}"
    racers: dict[str, Callable[[], float]] = {helpers_name: ours(race, data)}
    if find_spec("torch"):
        racers |= torch_epochs(race, data)
    racers["scikit-learn"] = sklearn_epoch(race, data)
    print(f"\n{race.title}")
    for epoch in racers.values():
        epoch()
    seconds: dict[str, list[float]] = {name: [] for name in racers}
    for _ in range(ROUNDS):
        for name, epoch in racers.items():
            seconds[name].append(epoch())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, times in seconds.items():
        spread = f"({min(times):.2f}–{max(times):.2f})"
        print(f"{name:20} {medians[name]:6.2f} s an epoch  {spread}")

    def ratio(name: str, other: float) -> None:
        print(f"of {name}'s time".ljust(22), f"{medians[helpers_name] / other:.2f}")

    fastest_torch = min((t for n, t in medians.items() if n.startswith("PyTorch")), default=None)
    if fastest_torch:
        ratio("PyTorch", fastest_torch)
    ratio("scikit-learn", medians["scikit-learn"])


def bench() -> int:
    """Every race, then the memory."""
    data = helpers.load_data()
    print(f"{data.name}: {len(data.x_train):,} images, one thread, {ROUNDS} rounds after a warm-up")
    if not find_spec("torch"):
        print("PyTorch is not installed: that comparison is left out (pip install torch)")
    for race in RACES:
        run(race, data)
    if sys.platform != "win32":
        print(f"\npeak memory            {peak_megabytes():.0f} MB")
    return 0
