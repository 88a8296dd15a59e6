"""The README's Python examples run as they stand, on the small digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import helpers
from notebook_rules import ROOT

BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict:
    """Small data, and a sweep that notes its use; every block imports what it needs."""
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked: list[dict] = []
    real_sweep = helpers.run_sweep

    def run_sweep(sweep: dict, data: helpers.Dataset, **given) -> None:
        asked.append({"mode": helpers.os.environ["WANDB_MODE"], **given})
        if asked[-1]["mode"] == "online":  # a server that is not here
            return
        given |= {"count": 1, "workers": 1, "storage": f"sqlite:///{tmp_path}/sweep.db"}
        assert len(real_sweep(sweep, data, progress=False, **given)) == 1

    digits = helpers.load_data("digits")
    monkeypatch.setattr(helpers, "load_data", lambda *_: digits)
    monkeypatch.setattr(helpers, "OPTIMIZERS", dict(helpers.OPTIMIZERS))
    monkeypatch.setattr(helpers, "run_sweep", run_sweep)
    return {"asked": asked}


def test_the_examples_run_in_the_order_of_the_page(
    names: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in BLOCKS:
        given: dict = {}
        exec(block, given)
        monkeypatch.setenv("WANDB_MODE", "disabled")
    first, second = names["asked"]
    assert first["mode"] == "online" and second["storage"].startswith("postgresql")
    assert list(given["history"]["epoch"]) == [1], "the last example trains with the new rule"
    assert "sign_sgd" in helpers.OPTIMIZERS
