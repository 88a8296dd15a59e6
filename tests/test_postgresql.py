"""A sweep on a real PostgreSQL: processes started independently share its runs out."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import optuna
import pandas as pd
import pytest

import helpers
from test_sweeps import go, same_results, sweep

pytestmark = pytest.mark.slow
ROOT = Path(helpers.__file__).resolve().parent
HEARTBEAT = 1  # second: whoever is silent for three of these is taken for dead


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian does not put on the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(folders, key=lambda path: int(path.parts[-3]), default=None)
    return newest and newest.parent


def ordinary_user() -> str | None:
    """PostgreSQL refuses to run as root: who runs it then? None: whoever runs the tests."""
    if os.name == "nt" or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL on loopback, in a temporary folder, for as long as these tests run."""
    folder_of_programs = programs()
    if folder_of_programs is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
    if driver is None:
        pytest.skip("Python has no driver for PostgreSQL (pip install 'psycopg[binary]')")
    user, password = ordinary_user(), secrets.token_hex(8)
    folder = Path(tempfile.mkdtemp(prefix="workbook-postgresql-"))
    (folder / "password").write_text(password)
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(folder_of_programs / program), "-D", str(folder / "data"), *arguments]
        log = folder / f"{program}.txt"
        with log.open("a") as output:
            ended = subprocess.run(command, cwd=folder, user=user, stdout=output, stderr=output)
        assert ended.returncode == 0, log.read_text()

    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        access = ("-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
        run("initdb", "-U", "sweeper", "-E", "UTF8", "--locale=C", *access)
        run("pg_ctl", "-w", "-o", settings, "-l", str(folder / "server.txt"), "start")
        try:
            yield f"postgresql+{driver}://sweeper:{password}@127.0.0.1:{port}/"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def storage(server: str) -> str:
    """An empty database on the server."""
    import sqlalchemy

    name = f"sweeps_{secrets.token_hex(4)}"
    engine = sqlalchemy.create_engine(f"{server}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}{name}"


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBOOK_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("WORKBOOK_FRESH", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(helpers, "_HEARTBEAT_SECONDS", HEARTBEAT)
    return tmp_path / "reports"


# One machine of a lab: it trains as always and notes what it began and what it finished.
MACHINE = """
import json, os, signal, sys, time
from pathlib import Path
import helpers
from test_sweeps import go, sweep

helpers._HEARTBEAT_SECONDS = 1
storage, method, folder, name, slow_at, dies_at = sys.argv[1:]
train, begun = helpers.train_config, []

def note(what, config):
    with open(f"{folder}/{name}.txt", "a") as file:
        name_in_the_table = helpers.run_name({k: v for k, v in config.items() if k != "seed"})
        file.write(json.dumps([what, name_in_the_table]) + "\\n")

def train_config(config, data, on_epoch=None, **options):
    begun.append(config)
    note("begun", config)

    def watched(row):
        if len(begun) == int(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(5 if len(begun) == int(slow_at) and row["epoch"] == 1 else 0.2)
        return on_epoch(row)

    result = train(config, data, on_epoch=watched, **options)
    note("finished", config)
    return result

helpers.train_config = train_config
Path(folder, f"{name}.ready").touch()
while not Path(folder, "go").exists():
    time.sleep(0.01)
table = go(sweep(method), 10, storage=storage)
table.to_json(f"{folder}/{name}.json", orient="records")
"""


class Lab:
    """Processes that know nothing of each other but the storage."""

    def __init__(self, folder: Path, storage: str, method: str) -> None:
        self.folder, self.storage, self.method = folder, storage, method
        self.machines: dict[str, subprocess.Popen] = {}

    def start(self, name: str, slow_at: int = 0, dies_at: int = 0) -> subprocess.Popen:
        """A machine whose run ``slow_at`` takes five seconds, and which is killed in ``dies_at``"""
        arguments = [self.storage, self.method, self.folder, name, slow_at, dies_at]
        command = [sys.executable, "-c", MACHINE, *map(str, arguments)]
        paths = [str(ROOT), str(Path(__file__).parent), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.machines[name] = subprocess.Popen(command, env=environment)
        return self.machines[name]

    def go(self) -> None:
        """Let all that are ready begin at the same moment."""
        deadline = time.monotonic() + 120
        while not all((self.folder / f"{name}.ready").exists() for name in self.machines):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (self.folder / "go").touch()

    def noted(self, what: str, name: str = "*") -> list[str]:
        """The runs that machines noted as begun or finished."""
        lines = [line for path in self.folder.glob(f"{name}.txt") for line in path.open()]
        return [run for kind, run in map(json.loads, lines) if kind == what]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_json(self.folder / f"{name}.json")

    def stop(self) -> None:
        for process in self.machines.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_independent_processes_run_all_once_and_take_over_from_a_killed_one(
    method: str, storage: str, tmp_path: Path
) -> None:
    """They come to an empty database at the same moment. The first run of one takes longer than the
    time after which a silent worker is taken for dead; another is killed in its second run."""
    lab = Lab(tmp_path, storage, method)
    try:
        lab.start("slow", slow_at=1)
        lab.start("killed", dies_at=2)
        if method == "random":
            lab.start("third")
        lab.go()
        ended = {name: process.wait(120) for name, process in lab.machines.items()}
    finally:
        lab.stop()
    assert ended.pop("killed") == -signal.SIGKILL and not any(ended.values())
    runs = lab.noted("finished")
    assert len(runs) == len(set(runs)) == 10  # each once, that of the killed process, too
    assert all(lab.noted("finished", name) for name in ended)
    (lost,) = collections.Counter(lab.noted("begun")) - collections.Counter(runs)
    assert lost == lab.noted("begun", "killed")[1]
    tables = [lab.table(name) for name in ended]
    for table in tables:
        assert sorted(table["name"]) == sorted(runs) and (table["state"] == "finished").all()
        pd.testing.assert_frame_equal(table, tables[0])
    if method == "random":  # bayes may find another configuration for the lost one's place
        assert lost in runs
        alone = go(sweep("random"), 10)
        assert list(alone["name"]) == list(tables[0]["name"])
        same_results(alone, tables[0])


def test_a_process_killed_before_its_first_heartbeat_holds_nobody_up(storage: str) -> None:
    """It took a run from the queue, and that was all: Optuna itself would wait for it for ever."""
    go(sweep(), 1, storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (summary,) = optuna.get_all_study_summaries(storage)
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        call = a_call(summary.study_name)
        (key, draws) = list(helpers._plan(call, 2).items())[1]
        helpers._enqueue(study, call, key, draws)
        study.ask()  # and here it was killed
    table = go(sweep(), 2, storage=storage)
    assert len(table) == 2 and (table["state"] == "finished").all()
    assert [t.state.name for t in study.get_trials()] == ["COMPLETE", "FAIL", "COMPLETE"]


def a_call(study_name: str) -> helpers._SweepCall:
    """What `run_sweep` knows while it runs `sweep()`; the plan and the queue need these parts."""
    dictionary = helpers._check_sweep(sweep())
    blank = dict.fromkeys(helpers._SweepCall._fields)
    space = helpers._search_space(dictionary)
    given = {"method": "random", "space": space, "seed": 0, "study_name": study_name}
    return helpers._SweepCall(**{**blank, **given})


def test_worker_processes_of_one_call_share_the_database(storage: str) -> None:
    table = go(sweep(), 6, storage=storage, workers=2)
    assert table["name"].nunique() == 6
    same_results(table, go(sweep(), 6))
