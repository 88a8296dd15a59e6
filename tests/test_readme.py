"""The README's Python examples run as they stand, on the small digits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import helpers
from notebook_rules import ROOT

BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict:
    """What a reader has at hand: the module's names, small data, and a sweep that notes its use."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked: list[dict] = []

    def run_sweep(sweep: dict, data: helpers.Dataset, **given) -> None:
        asked.append({"mode": helpers.os.environ["WANDB_MODE"], **given})
        if asked[-1]["mode"] == "online":  # a server that is not here
            return
        given |= {"count": 1, "workers": 1, "storage": f"sqlite:///{tmp_path}/sweep.db"}
        assert len(helpers.run_sweep(sweep, data, progress=False, **given)) == 1

    digits = helpers.load_data("digits")
    monkeypatch.setattr(helpers, "load_data", lambda *_: digits)
    monkeypatch.setattr(helpers, "OPTIMIZERS", dict(helpers.OPTIMIZERS))
    given = {"np": np, "dataclass": dataclass, "run_sweep": run_sweep, "asked": asked}
    return {**vars(helpers), **given}


def test_the_examples_run_in_the_order_of_the_page(
    names: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        exec(block, names)
        monkeypatch.setenv("WANDB_MODE", "disabled")
    first, second = names["asked"]
    assert first["mode"] == "online" and second["storage"].startswith("postgresql://")
    assert list(names["history"]["epoch"]) == [1], "the last example trains with the new rule"
    assert "sign_sgd" in helpers.OPTIMIZERS
