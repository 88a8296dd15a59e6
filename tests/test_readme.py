"""The README's Python examples run as they stand, on the small digits."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import helpers
from notebook_rules import ROOT
from samples import digits, registries_as_before

BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"))


def test_the_examples_run_as_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each block imports what it needs; a sweep makes one run, and on this machine."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    data, real_sweep, modes = digits(), helpers.run_sweep, []

    def run_sweep(sweep: dict, data: helpers.Dataset, **given: object) -> object:
        modes.append(os.environ["WANDB_MODE"])
        monkeypatch.setenv("WANDB_MODE", "disabled")
        given |= {"count": 1, "workers": 1, "storage": f"sqlite:///{tmp_path}/{len(modes)}.db"}
        return real_sweep(sweep, data, progress=False, **given)

    monkeypatch.setattr(helpers, "load_data", lambda *_: data)
    monkeypatch.setattr(helpers, "run_sweep", run_sweep)
    trained = []
    with registries_as_before():
        for block in BLOCKS:
            defined: dict = {}
            exec(block, defined)
            trained += [defined[name] for name in ("history", "table") if name in defined]
    assert len(trained) == len(BLOCKS), "each example trains something"
    assert all(len(table) for table in trained) and "online" in modes
