"""`make grid`: train every configuration of the assignment's search space once.

A run of ten epochs passes through epoch five, so 5,832 runs cover the 11,664 configurations. Every
finished run is a line of reports/local/grid/runs.jsonl, on the disk before the next one begins;
whoever is killed loses the runs in flight alone. What is in reports/grid_partial.csv.gz counts as
done. When nothing is left, reports/grid.csv.gz takes the place of the partial file, and the runs
with more seeds follow.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from sklearn.model_selection import ParameterGrid
from tqdm.auto import tqdm

import store  # it puts the project's folder on the path
from store import REPORTS, ROOT, helpers

SETTINGS = [name for name in helpers.SWEEP["parameters"] if name != "epochs"]
EPOCHS = max(helpers.SWEEP["parameters"]["epochs"]["values"])
METRICS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"]
SECONDS_BETWEEN_FILES = 600  # how often the partial table is written while runs go on

RANDOM_CONFIGURATIONS, BEST_CONFIGURATIONS, SEEDS = 100, 50, range(5)


def grid_configurations() -> list[dict[str, Any]]:
    """The runs of ten epochs in a fixed random order, so that a part is a fair sample."""
    values = {name: helpers.SWEEP["parameters"][name]["values"] for name in SETTINGS}
    every = list(ParameterGrid(values))
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))]


def identity(run: dict[str, Any]) -> tuple:
    """What tells a run from all others: its settings and, where it has one, its seed."""
    return (*(run[name] for name in SETTINGS), int(run.get("seed", 0)))


def one_run(config: dict[str, Any], seed: int, data: helpers.Dataset) -> dict[str, Any]:
    """Train one configuration for ten epochs. This is what a worker process does."""
    rows: list[dict[str, float]] = []
    start = time.process_time()
    full = helpers.check_config({**config, "epochs": EPOCHS, "seed": seed})
    try:
        helpers._train_anew(full, data, rows.append, False)
        diverged = False
    except helpers.Diverged:
        diverged = True
    return {"config": config, "seed": seed, "rows": rows, "diverged": diverged,
            "core_seconds": time.process_time() - start}


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────


def rows_of(run: dict[str, Any], with_seed: bool) -> list[dict[str, Any]]:
    """The ten rows of a run; epochs that it did not reach hold NaN."""
    settings = {name: run["config"][name] for name in SETTINGS}
    settings["weight_decay"] = float(settings["weight_decay"])
    if with_seed:
        settings["seed"] = run["seed"]
    rows = []
    for epoch in range(1, EPOCHS + 1):
        reached = epoch <= len(run["rows"])
        values = run["rows"][epoch - 1] if reached else dict.fromkeys(METRICS, np.nan)
        rows.append({**settings, "epoch": epoch, **{name: values[name] for name in METRICS},
                     "diverged": run["diverged"] and not reached})
    return rows


def table_of(runs: Iterable[dict[str, Any]], with_seed: bool = False) -> pd.DataFrame:
    """One row an epoch of every run, in the order of the settings."""
    seed = ["seed"] if with_seed else []
    columns = [*SETTINGS, *seed, "epoch", *METRICS, "diverged"]
    table = pd.DataFrame([row for run in runs for row in rows_of(run, with_seed)], columns=columns)
    table["seconds"] = table["seconds"].round(4)
    return table.sort_values([*SETTINGS, *seed, "epoch"], ignore_index=True)


def finished_runs(folder: Path) -> list[dict[str, Any]]:
    """The runs in a folder's runs.jsonl; a line that a kill cut off is passed over."""
    runs = []
    path = folder / "runs.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return runs


def recorded_table(path: Path) -> pd.DataFrame | None:
    return helpers._read_table(path) if path.is_file() else None


def identities(table: pd.DataFrame) -> set[tuple]:
    first = table[table["epoch"] == 1]
    return {identity(row) for row in first.to_dict("records")}


def joined(recorded: pd.DataFrame | None, runs: list[dict[str, Any]], with_seed: bool = False
           ) -> pd.DataFrame:
    """The recorded table and the runs that it lacks; every run once."""
    done = set() if recorded is None else identities(recorded)
    new = {}
    for run in runs:
        key = identity({**run["config"], "seed": run.get("seed", 0)})
        if key not in done:
            new.setdefault(key, run)
    table = table_of(new.values(), with_seed)
    if recorded is not None:
        table = pd.concat([recorded, table] if len(table) else [recorded])
    order = [*SETTINGS, *(["seed"] if with_seed else []), "epoch"]
    return table.sort_values(order, ignore_index=True)


def about(data: helpers.Dataset, runs: int) -> dict[str, Any]:
    """What stands beside the table: where its numbers come from."""
    packages = ("numpy", "pandas", "scikit-learn")
    return {
        "runs": runs, "epochs": EPOCHS, "seed": 0, "date": date.today().isoformat(),
        "data": data.name, "data_digest": data.digest(), "numerics": helpers.numerics_id(),
        "python": platform.python_version(), "processor": processor(),
        **{name: metadata.version(name) for name in packages},
    }


def processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def write_grid(table: pd.DataFrame, data: helpers.Dataset) -> Path:
    """Write the table as far as it goes; the whole grid takes the place of the part."""
    runs = len(table) // EPOCHS
    whole = runs == len(grid_configurations())
    path = REPORTS / ("grid.csv.gz" if whole else "grid_partial.csv.gz")
    store.write_table(table, path)
    store.write_text(REPORTS / "grid.json", json.dumps(about(data, runs), indent=1) + "\n")
    if whole:
        (REPORTS / "grid_partial.csv.gz").unlink(missing_ok=True)
    return path


# ── Running ───────────────────────────────────────────────────────────────────────────────────────


def run_missing(tasks: list[tuple[dict[str, Any], int]], data: helpers.Dataset, folder: Path,
                publish: Any) -> None:
    """Train what is missing, one process a core; every finished run goes to the disk at once."""
    arguments = [(config, seed, data) for config, seed in tasks]
    published = time.monotonic()
    with open(folder / "runs.jsonl", "a", encoding="utf-8") as file:
        if file.tell() and not (folder / "runs.jsonl").read_bytes().endswith(b"\n"):
            file.write("\n")  # after a line that a kill cut off
        results = helpers.in_parallel(one_run, arguments, ordered=False)
        for run in tqdm(results, total=len(tasks), unit="run", smoothing=0.02):
            file.write(json.dumps(run) + "\n")
            file.flush()
            os.fsync(file.fileno())
            if time.monotonic() - published > SECONDS_BETWEEN_FILES:
                publish()
                published = time.monotonic()
    publish()


def grid(storage: str | None = None) -> int:
    """Train what the grid lacks, on this machine or, with an Optuna storage, on many."""
    data = helpers.load_data("fashion_mnist", fallback=None)
    store.require_known_numerics()
    folder = ROOT / "reports" / "local" / "grid"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            if storage:
                return grid_on_many_machines(storage, data)
            return grid_here(data, folder)
    except Timeout:
        raise SystemExit(f"another `make grid` is at work ({folder / 'lock'} is locked)") from None


def grid_here(data: helpers.Dataset, folder: Path) -> int:
    forget_other_numerics(folder)
    recorded = next((table for name in ("grid", "grid_partial")
                     if (table := recorded_table(REPORTS / f"{name}.csv.gz")) is not None), None)
    done = set() if recorded is None else identities(recorded)
    done |= {identity({**run["config"], "seed": run["seed"]}) for run in finished_runs(folder)}
    missing = [(config, 0) for config in grid_configurations() if identity(config) not in done]
    print(f"grid: {len(grid_configurations()) - len(missing)} of {len(grid_configurations())} runs "
          f"are there, {len(missing)} to train")

    def publish() -> None:
        write_grid(joined(recorded, of_seed_zero(finished_runs(folder))), data)

    run_missing(missing, data, folder, publish)
    return more_seeds(data, folder)


def of_seed_zero(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["seed"] == 0]


def forget_other_numerics(folder: Path) -> None:
    """Runs of other code or data must not be mixed with those of today's."""
    path, today = folder / "numerics", helpers.numerics_id()
    if path.is_file() and path.read_text(encoding="utf-8") != today:
        (folder / "runs.jsonl").rename(folder / f"runs-{int(time.time())}.jsonl")
    store.write_text(path, today)
    grid_json = REPORTS / "grid.json"
    if grid_json.is_file():
        recorded = json.loads(grid_json.read_text(encoding="utf-8"))["numerics"]
        if recorded != today:
            raise SystemExit(
                f"reports/grid.json was recorded with other numerics ({recorded}, today "
                f"{today}): `make rekey` if they give the same bits, else remove the old grid"
            )


def chosen_for_more_seeds(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A hundred configurations drawn at random and the fifty best by validation accuracy."""
    last = table[table["epoch"] == EPOCHS].reset_index(drop=True)
    drawn = np.random.default_rng(1).choice(len(last), RANDOM_CONFIGURATIONS, replace=False)
    best = last["val_accuracy"].nlargest(BEST_CONFIGURATIONS).index
    numbers = dict.fromkeys([*map(int, drawn), *map(int, best)])  # each once
    return last.loc[list(numbers), SETTINGS].to_dict("records")


def more_seeds(data: helpers.Dataset, folder: Path) -> int:
    """Five seeds of the chosen configurations: they tell which differences are real."""
    whole = recorded_table(REPORTS / "grid.csv.gz")
    if whole is None:
        return 0
    path = REPORTS / "grid_seeds.csv.gz"
    configurations = chosen_for_more_seeds(whole)
    recorded = recorded_table(path)
    wanted = [(config, seed) for config in configurations for seed in SEEDS if seed]
    done = set() if recorded is None else identities(recorded)
    done |= {identity({**run["config"], "seed": run["seed"]}) for run in finished_runs(folder)}
    missing = [(config, seed) for config, seed in wanted
               if identity({**config, "seed": seed}) not in done]
    print(f"seeds: {len(missing)} of {len(wanted)} runs to train")
    keys = {identity({**config, "seed": seed}) for config, seed in wanted}
    chosen = whole.merge(pd.DataFrame(configurations), on=SETTINGS).assign(seed=0)

    def publish() -> None:
        runs = [run for run in finished_runs(folder)
                if identity({**run["config"], "seed": run["seed"]}) in keys]
        start = chosen if recorded is None else recorded
        store.write_table(joined(start, runs, with_seed=True), path)

    run_missing(missing, data, folder, publish)
    return 0


def grid_on_many_machines(storage: str, data: helpers.Dataset) -> int:
    """Take runs from a queue that other machines take from, too; the last one writes the table."""
    os.environ["WANDB_MODE"] = "disabled"
    parameters = {**helpers.SWEEP["parameters"], "epochs": {"value": EPOCHS}}
    sweep = {**helpers.SWEEP, "name": "grid", "method": "grid", "parameters": parameters}
    table = helpers.run_sweep(sweep, data, count=len(grid_configurations()), storage=storage)
    runs = [{"config": {name: row[name] for name in SETTINGS}, "seed": 0,
             "rows": json.loads(row["history"]), "diverged": row["state"] == "failed"}
            for row in table.to_dict("records")]
    path = write_grid(joined(None, runs), data)
    print(f"{path.relative_to(ROOT)}: {len(runs)} runs")
    return 0
