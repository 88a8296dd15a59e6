"""The store of trainings, as make's commands keep it: publish what pages used, rekey, spot checks.

helpers.py says what the store is and reads it; here its tracked part, reports/store/, is written.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import types
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import helpers  # noqa: E402

REPORTS = ROOT / "reports"
STORE = REPORTS / "store"
NUMERICS = REPORTS / "numerics.json"
SETTINGS = sorted(helpers.check_config({}))

# Small trainings that use every activation, initialiser, loss and rule that the workbook ships.
COVERING_SAMPLE = [
    {"optimizer": "sgd", "activation": "sigmoid", "weight_init": "random", "learning_rate": 0.1},
    {"optimizer": "momentum", "activation": "tanh", "weight_init": "normal",
     "loss": "squared_error", "weight_decay": 5e-4},
    {"optimizer": "nesterov", "activation": "relu", "weight_init": "xavier", "weight_decay": 5e-4},
    {"optimizer": "rmsprop", "activation": "identity", "weight_init": "he",
     "loss": "squared_error"},
    {"optimizer": "adam", "activation": "tanh", "weight_init": "zero", "batch_size": 50},
    {"optimizer": "nadam", "activation": "relu", "weight_init": "he", "weight_decay": 5e-4},
]
COVERING_SAMPLE = [
    {"hidden_layers": 2, "hidden_size": 32, "learning_rate": 1e-2, "epochs": 2, **config}
    for config in COVERING_SAMPLE
]


# ── Numerics: which code gave the bits of the store ───────────────────────────────────────────────


def read_numerics() -> dict[str, Any]:
    return json.loads(NUMERICS.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    helpers.write_whole(path, lambda file: file.write(text.encode()))


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {result.stderr.strip()}")
    return result.stdout


def module_from(source: str, name: str) -> types.ModuleType:
    """A helpers.py of another commit as a module of its own, beside the one that is loaded."""
    module = types.ModuleType(name)
    module.__file__ = str(ROOT / "helpers.py")
    sys.modules[name] = module  # dataclasses look their module up
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def covering_results(module: types.ModuleType) -> list[dict[str, np.ndarray]]:
    """What every training of the covering sample computes: parameters, losses and accuracies.

    In float64, too: there a change shows that float32 rounds away in so few steps.
    """
    data = module.load_data("digits")
    results = []
    for config, dtype in itertools.product(COVERING_SAMPLE, ("float32", "float64")):
        full = module.check_config(config)
        sizes = data.network_sizes([full["hidden_size"]] * full["hidden_layers"])
        network = module.Network(
            sizes, full["activation"], full["weight_init"], full["loss"], full["seed"], dtype
        )
        names = ("optimizer", "learning_rate", "epochs", "batch_size", "weight_decay", "seed")
        settings = {name: full[name] for name in names}
        history = module.train(network, data, progress=False, **settings)
        results.append({
            "parameters": network.parameters,
            "history": history.drop(columns="seconds").to_numpy(),
        })
    return results


def differing(one: types.ModuleType, other: types.ModuleType) -> list[str]:
    """The trainings of the covering sample in which two helpers.py differ by any bit."""
    pairs = zip(covering_results(one), covering_results(other), strict=True)
    differ = [any(not np.array_equal(a[name], b[name], equal_nan=True) for name in a)
              for a, b in pairs]
    each = np.reshape(differ, (len(COVERING_SAMPLE), -1)).any(axis=1)  # in either precision
    return [helpers.run_name(config)
            for config, differs in zip(COVERING_SAMPLE, each, strict=True) if differs]


def rekey() -> int:
    """Let the store answer for today's helpers.py, if it computes what the recorded one did.

    Both train the covering sample here, on the same machine. Only when every bit agrees is today's
    digest added to reports/numerics.json.
    """
    numerics = read_numerics()
    digest = helpers.numerics_digest()
    if digest in numerics["digests"]:
        print(f"{digest}: the store answers for this helpers.py already")
        return 0
    commit = numerics["digests"][numerics["numerics"]]["commit"]
    recorded = module_from(git("show", f"{commit}:helpers.py"), "recorded_helpers")
    wrong = differing(recorded, helpers)
    if wrong:
        raise SystemExit(
            f"helpers.py does not compute what it did at {commit[:7]}; nothing was changed. These "
            f"trainings differ: {', '.join(wrong)}. If the change is meant, `make record` trains "
            "the store anew."
        )
    numerics["digests"][digest] = {
        "commit": git("rev-parse", "HEAD").strip(),
        "added": date.today().isoformat(),
        "because": f"all bits of the covering sample agree with {commit[:7]}",
    }
    write_text(NUMERICS, json.dumps(numerics, indent=1) + "\n")
    print(f"{digest} added: all bits of {len(COVERING_SAMPLE)} trainings agree with {commit[:7]}")
    return 0


def require_committed_numerics() -> bool:
    """Return whether the numerics are known; unknown ones must be committed, so `rekey` finds them.

    Raises SystemExit where they are not. To be called before hours of training, too.
    """
    digest = helpers.numerics_digest()
    if NUMERICS.is_file() and digest in read_numerics()["digests"]:
        return True
    if helpers.numerics_digest(git("show", "HEAD:helpers.py")) != digest:
        raise SystemExit("helpers.py trains otherwise than at the last commit: commit it first")
    return False


def require_known_numerics() -> None:
    """Give unknown numerics a name, see `require_committed_numerics`."""
    if require_committed_numerics():
        return
    digest = helpers.numerics_digest()
    entry = {"commit": git("rev-parse", "HEAD").strip(), "added": date.today().isoformat(),
             "because": "the store was recorded with it"}
    write_text(NUMERICS, json.dumps({"numerics": digest, "digests": {digest: entry}}, indent=1))


# ── Publishing: from a local store to reports/store/ ──────────────────────────────────────────────


def used_entries(folder: Path) -> dict[str, set[str]]:
    """The entries that pages read or made in a run, by kind."""
    used: dict[str, set[str]] = {"history": set(), "network": set(), "arrays": set()}
    path = folder / "used.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        entry = json.loads(line)
        used[entry["kind"]].add(entry["key"])
    return used


def publish(folder: Path, complete: bool) -> None:
    """Bring what pages used from a local store to reports/store/.

    folder : the reports folder of the run: ``used.jsonl`` and ``store/``
    complete : all notebooks ran, so what none of them used is dropped

    Every file is written whole, and the two tables last: whoever is killed on the way leaves a
    store that is valid and that the next call completes.
    """
    require_known_numerics()
    used, local = used_entries(folder), folder / "store"
    trainings, histories = read_tables()
    fresh = {path.stem: json.loads(path.read_text(encoding="utf-8"))
             for path in local.glob("*.json") if path.stem in used["history"]}
    gone = set(fresh)
    if complete:
        gone |= set(trainings["key"]) - used["history"]
    trainings = trainings[~trainings["key"].isin(gone)]
    histories = histories[~histories["key"].isin(gone)]
    new_trainings = [
        {"key": key, "date": entry["date"], "data": entry["data"],
         "diverged": entry["diverged"], "core_seconds": entry["core_seconds"],
         **{name: entry["config"][name] for name in SETTINGS if name != "epochs"}}
        for key, entry in fresh.items()
    ]
    new_histories = [{"key": key, **row} for key, entry in fresh.items() for row in entry["rows"]]
    if fresh:  # an empty table would lend its column types to the whole
        trainings = pd.concat([trainings, pd.DataFrame(new_trainings)] if len(trainings)
                              else [pd.DataFrame(new_trainings)])[list(trainings.columns)]
        histories = pd.concat([histories, pd.DataFrame(new_histories)] if len(histories)
                              else [pd.DataFrame(new_histories)])[list(histories.columns)]

    (STORE / "networks").mkdir(parents=True, exist_ok=True)
    for kind, place in (("network", STORE / "networks"), ("arrays", STORE)):
        names = {Path(key).stem for key in used[kind]}
        for name in sorted(names):
            source = local / f"{name}.npz"
            if source.is_file():
                content = source.read_bytes()
                helpers.write_whole(place / source.name, lambda file, c=content: file.write(c))
        if complete:
            for path in place.glob("*.npz"):
                if path.stem not in names:
                    path.unlink()
    write_table(histories.sort_values(["key", "epoch"]), STORE / "histories.csv.gz")
    write_table(trainings.sort_values("key"), STORE / "trainings.csv.gz")
    size = sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file())
    print(f"reports/store: {len(trainings)} trainings, {size / 1e6:.1f} MB")


def read_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tracked trainings and histories; empty tables where there are none."""
    if not (STORE / "trainings.csv.gz").is_file():
        settings = [name for name in SETTINGS if name != "epochs"]
        columns = ["key", "date", "data", "diverged", "core_seconds", *settings]
        return pd.DataFrame(columns=columns), pd.DataFrame(columns=["key", *helpers._METRICS])
    return tuple(helpers._read_table(STORE / f"{name}.csv.gz")
                 for name in ("trainings", "histories"))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a compressed table, whole or not at all; the same table gives the same bytes."""
    helpers.write_whole(path, lambda file: table.to_csv(
        file, index=False, lineterminator="\n",
        compression={"method": "gzip", "compresslevel": 9, "mtime": 0}))


# ── The spot check ────────────────────────────────────────────────────────────────────────────────


def record_covering_sample() -> None:
    """Train the covering sample, or read it, so that it is published with the rest."""
    data = helpers.load_data("fashion_mnist", fallback=None)
    helpers.train_many(COVERING_SAMPLE, data, networks=False)


def spot_check_candidates(data: dict[str, helpers.Dataset]) -> pd.DataFrame:
    """Recorded trainings that can be repeated: of a whole data set, with a finite first epoch.

    data : the data sets by name. Returns one row a training: its settings, data, first_loss, the
    first epoch's training loss, and core_seconds, what an epoch cost.
    """
    trainings, histories = read_tables()
    first = histories[histories["epoch"] == 1].set_index("key")
    trainings = trainings[trainings["key"].isin(first.index)]
    digests = {name: dataset.digest() for name, dataset in data.items()}
    whole = [  # some pages train on a part of a data set, which nobody can draw again from here
        row["data"] in digests and row["key"] == helpers._training_key(
            {name: row[name] for name in SETTINGS if name != "epochs"}, digests[row["data"]])
        for row in trainings.to_dict("records")
    ]
    trainings = trainings[whole]
    losses = first.loc[trainings["key"]]
    table = trainings.assign(first_loss=losses["train_loss"].to_numpy(),
                             core_seconds=losses["seconds"].to_numpy())
    return pd.concat([table, grid_candidates(digests)], ignore_index=True)


def grid_candidates(digests: dict[str, str]) -> pd.DataFrame:
    """The runs of the grid, as far as it is recorded."""
    path, about = helpers._grid_path(), REPORTS / "grid.json"
    if not (path.is_file() and about.is_file()):
        return pd.DataFrame()
    recorded = json.loads(about.read_text(encoding="utf-8"))
    if digests.get(recorded["data"]) != recorded["data_digest"]:
        return pd.DataFrame()
    table = helpers.load_grid(all_epochs=True)
    table = table[(table["epoch"] == 1) & table["train_loss"].notna()]
    return table.assign(data=recorded["data"], seed=recorded["seed"],
                        loss=helpers.check_config({})["loss"], first_loss=table["train_loss"],
                        core_seconds=table["seconds"])


def is_of_the_covering_sample(candidates: pd.DataFrame) -> pd.Series:
    names = {helpers.run_name(one_epoch(config)) for config in COVERING_SAMPLE}
    return pd.Series([helpers.run_name(one_epoch(row)) in names
                      for row in candidates.to_dict("records")], candidates.index, bool)


def one_epoch(row: dict[str, Any]) -> dict[str, Any]:
    """The configuration in a row of a table, for one epoch."""
    settings = {name: row[name] for name in SETTINGS if name in row}
    return helpers.check_config({**settings, "epochs": 1})


def pick(candidates: pd.DataFrame, commit: str, core_seconds: float) -> pd.DataFrame:
    """Trainings drawn by a commit whose first epochs take about so many core-seconds."""
    rng = np.random.default_rng([ord(letter) for letter in commit])
    shuffled = candidates.iloc[rng.permutation(len(candidates))]
    return shuffled[shuffled["core_seconds"].cumsum() <= core_seconds]


def first_losses(picked: pd.DataFrame, data: dict[str, helpers.Dataset]) -> pd.Series:
    """The first epoch's training loss of each picked training, trained now."""
    arguments = [(one_epoch(row), data[row["data"]], None, False)
                 for row in picked.to_dict("records")]
    runs = helpers.in_parallel(helpers._train_anew, arguments)
    return pd.Series([history["train_loss"].iloc[0] for _, history in runs], picked.index, float)


def mismatches(picked: pd.DataFrame, losses: pd.Series) -> list[str]:
    """The picked trainings whose first training loss is over 1 % away from the recorded one."""
    wrong = picked[~((losses / picked["first_loss"] - 1).abs() <= 0.01)]
    return [f"{helpers.run_name(one_epoch(row))} on {row['data']}: recorded "
            f"{row['first_loss']:.4f}, trained now {losses[index]:.4f}"
            for index, row in wrong.iterrows()]
