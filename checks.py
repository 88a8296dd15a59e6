"""Checks that say which idea is wrong, hints, and predictions that are scored.

    softmax = check("softmax", softmax)   # one verdict; goes on with yours when it is right
    hint("softmax")                       # a step further with each call
    progress()                            # what is right, tried, open

A function is run on seeded cases and compared with ours, then with known mistakes and with two of
them at once (`exercises.py`). `judge` does that without a notebook: it prints nothing and leaves
arguments, generators and files as they were. Only NumPy and the standard library are imported.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import html
import inspect
import io
import json
import linecache
import os
import random
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import exercises
from exercises import CATALOGUE, Case, Exercise, Found, Misfit, _few, _number

_HERE = Path(__file__).resolve().parent
_MARKS = {"blank": "✎", "right": "✓"}
_COLOURS = {"blank": "#8a6d00", "right": "#1a7f37"}


@dataclass(frozen=True)
class Verdict:
    """What is to be said about a function.

    status : "blank", "crash", "mutates", "shape", "known", "wrong" or "right"
    mistakes : names from the catalogue, one or two; empty unless the status is "known"
    message : what a student reads: the idea, the evidence in numbers, where to look
    """

    status: str
    mistakes: tuple[str, ...]
    message: str

    @property
    def right(self) -> bool:
        return self.status == "right"


# ── Running a reader's function ───────────────────────────────────────────────────────────────────


class _Stopped(Exception):
    """A reader's function raised ``error``."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class _Outcome:
    """What came of one case: arrays by name, or an error, or a form that can't be read."""

    parts: dict[str, np.ndarray] | None = None
    error: BaseException | None = None
    misfit: str = ""
    heard: frozenset[str] = frozenset()  # what NumPy warned of
    single: bool = False  # computed in float32

    @property
    def overflowed(self) -> bool:
        return any(text.startswith(("overflow", "invalid value")) for text in self.heard)


def _copied(value: Any) -> Any:
    """Arguments to hand out: arrays are copies, generators, functions and `state` themselves."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return value


def _unchanged(given: Any, kept: Any, rounding: float) -> bool:
    if isinstance(kept, np.ndarray):
        if given.shape != kept.shape or given.dtype != kept.dtype:
            return False
        if rounding:
            return bool(np.allclose(given, kept, rtol=rounding, atol=rounding))
        return bool(np.array_equal(given, kept, equal_nan=kept.dtype.kind == "f"))
    if isinstance(kept, list):
        return len(given) == len(kept) and all(
            type(a) is type(b) and _unchanged(a, b, rounding)
            for a, b in zip(given, kept, strict=True))
    if isinstance(kept, (int, float)):
        return given == kept
    return True


class _Run:
    """A reader's function, watched: does it raise, does it change what it is given?"""

    def __init__(self, function: Callable, rounding: float = 0.0) -> None:
        self.function, self.rounding = function, rounding
        self.changed = -1  # the number of the argument that was changed
        self.calls = 0
        self.before = np.random.get_state()  # noqa: NPY002

    def __call__(self, *arguments: Any, finish: Callable | None = None, **settings: Any) -> Any:
        self.calls += 1
        given = [_copied(argument) for argument in arguments]
        try:
            value = self.function(*given, **settings)
            # What is computed only while it is read is the reader's code too.
            value = list(value) if hasattr(value, "__next__") else value
            return finish(value) if finish else value
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: it would end the notebook's kernel
            raise _Stopped(error) from None
        finally:
            for number, (one, kept) in enumerate(zip(given, arguments, strict=True)):
                if not _unchanged(one, kept, self.rounding):
                    self.changed = number

    def global_generator_used(self) -> bool:
        now = np.random.get_state()  # noqa: NPY002
        return now[2] != self.before[2] or not np.array_equal(now[1], self.before[1])


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What a reader's code prints or sets for everybody is undone: generators, error handling."""
    state, plain = np.random.get_state(), random.getstate()  # noqa: NPY002
    filters, folder = warnings.filters[:], os.getcwd()
    silent = io.StringIO()
    try:
        with (contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent),
              np.errstate(all="warn"), np.printoptions(), warnings.catch_warnings()):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(plain)
        if warnings.filters != filters:
            warnings.filters[:] = filters
        with contextlib.suppress(OSError):
            if os.getcwd() != folder:
                os.chdir(folder)


def _outcome(exercise: Exercise, function: Callable, case: Case) -> _Outcome:
    """Run one case of a reader's function."""
    outcome = _Outcome()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with np.errstate(all="warn"):
                returned = exercise.perform(function, case)
                outcome.parts = exercise.read(returned)
                outcome.single = getattr(returned, "dtype", None) == np.float32
        except Misfit as misfit:
            outcome.misfit = str(misfit)
        except _Stopped as stopped:
            outcome.error = stopped.error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an object that can't be read as numbers
            outcome.misfit = f"What comes back can't be read as numbers ({type(error).__name__})."
    outcome.heard = frozenset(str(warning.message).split(" encountered")[0] for warning in heard
                              if issubclass(warning.category, RuntimeWarning))
    return outcome


def _own_outcome(exercise: Exercise, function: Callable, case: Case) -> _Outcome:
    """Run one case of a known form; it may crash, as the mistake does."""
    try:
        return _Outcome(exercise.read(exercise.perform(function, case)))
    except Misfit as misfit:
        return _Outcome(misfit=str(misfit))
    except Exception as error:
        return _Outcome(error=error)


@functools.lru_cache(maxsize=64)
def _cases(name: str, seed: int) -> tuple[tuple[Case, ...], tuple[_Outcome, ...]]:
    """The cases of an exercise, and ours on them. Nobody changes them."""
    exercise = CATALOGUE[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    cases = exercise.cases(rng)
    if exercise.warm:
        cases[-1] = cases[-1]._replace(arguments=cases[0].arguments)
    ours = exercise.make()
    with np.errstate(all="ignore"):
        return tuple(cases), tuple(_own_outcome(exercise, ours, case) for case in cases)


# ── Comparing ─────────────────────────────────────────────────────────────────────────────────────


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Equal to rounding, relative to the largest number of b; nan equals nan."""
    if a.shape != b.shape:
        return False
    if a.size == 0:
        return True
    finite = np.isfinite(b)
    if finite.all():
        scale = max(np.abs(b).max(), 0.05)
        return bool((np.abs(a - b) <= tolerance * scale).all())  # nan in a: False
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    return _close(a[finite], b[finite], tolerance)


def _same(one: _Outcome, two: _Outcome, tolerance: float) -> bool:
    if one.parts is None or two.parts is None:
        return bool(one.misfit) and one.misfit == two.misfit
    return one.parts.keys() == two.parts.keys() and all(
        _close(one.parts[name], two.parts[name], tolerance) for name in one.parts)


# What arithmetic in float64 leaves. Some mistakes differ from what is right by less than float32
# shows; who computes in float64 is told of them.
_TIGHT = 1e-9


def _agrees(exercise: Exercise, wrong: Mapping[str, Any], cases: tuple[Case, ...],
            ours: tuple[_Outcome, ...], theirs: list[_Outcome], tolerance: float) -> int:
    """0: no. 1: yes, where the reader's function runs. 2: yes, and both crash on the same cases.

    Agreeing with a mistake counts only where the mistake differs from what is right.
    """
    function = exercise.make(wrong)
    proof, alike, finite = False, True, False
    for case, right, mine in zip(cases, ours, theirs, strict=True):
        form = _own_outcome(exercise, function, case)
        if mine.error is not None:
            alike = alike and form.error is not None
            continue
        if not _same(mine, form, tolerance):
            return 0
        proof = proof or not _same(right, form, tolerance)
        finite = finite or mine.parts is None or any(
            np.isfinite(part).any() for part in mine.parts.values())
    if proof and not finite:  # nothing but nan agrees with much; so must what NumPy said
        again = _outcome(exercise, exercise.make(wrong), cases[0])
        proof = again.heard == theirs[0].heard
    return 1 + alike if proof else 0


@functools.lru_cache(maxsize=64)
def _sieve(name: str, seed: int, pairs: bool) -> list[tuple[dict[str, Any], _Outcome]]:
    """Every known form, or every pair, with what comes of it on the first case."""
    exercise = CATALOGUE[name]
    case = _cases(name, seed)[0][0]
    return [(wrong, _own_outcome(exercise, exercise.make(wrong), case))
            for wrong in (exercise.pairs() if pairs else exercise.singles())]


def _known(exercise: Exercise, seed: int, theirs: list[_Outcome]) -> tuple[str, ...]:
    """The mistake, or the two, that explain everything; () when none does or when several do."""
    cases, ours = _cases(exercise.name, seed)
    if all(outcome.error is not None for outcome in theirs):
        return ()
    for pairs in (False, True):
        found: dict[tuple[str, ...], int] = {}
        forms = []
        for wrong, first in _sieve(exercise.name, seed, pairs):
            if theirs[0].error is None and not _same(theirs[0], first, exercise.tolerance):
                continue
            agreement = _agrees(exercise, wrong, cases, ours, theirs, exercise.tolerance)
            if agreement:
                names = tuple(wrong)
                found[names] = max(agreement, found.get(names, 0))
                forms.append(wrong)
        best = [names for names in found if found[names] == max(found.values())]
        if len(best) > 1:  # alike in float32; perhaps not in float64
            best = list({tuple(wrong) for wrong in forms if tuple(wrong) in best
                         and _agrees(exercise, wrong, cases, ours, theirs, _TIGHT)})
        if len(best) == 1:
            return best[0]
        if found:
            return ()
    return ()


def _nearly_right(exercise: Exercise, seed: int, theirs: list[_Outcome]) -> tuple[str, ...]:
    """A mistake so small that float32 hides it, if these numbers are exactly that mistake's."""
    cases, ours = _cases(exercise.name, seed)
    if all(_same(one, two, _TIGHT) for one, two in zip(ours, theirs, strict=True)):
        return ()
    found = {tuple(wrong) for wrong, first in _sieve(exercise.name, seed, False)
             if _same(theirs[0], first, _TIGHT)
             and _agrees(exercise, wrong, cases, ours, theirs, _TIGHT)}
    return found.pop() if len(found) == 1 else ()


# ── The verdict ───────────────────────────────────────────────────────────────────────────────────


def judge(name: str, function: Any, *, seed: int = 0) -> Verdict:
    """Judge a function without printing, keeping or changing anything. Another seed, other cases.

    Raises KeyError for an exercise that doesn't exist, with the names that do.
    """
    if name not in CATALOGUE:
        raise KeyError(f"there is no exercise {name!r}; there are {', '.join(CATALOGUE)}")
    exercise = CATALOGUE[name]
    if function is None or function is ... or _is_blank(function):
        return Verdict("blank", (), "Not written yet.")
    if getattr(function, "lent_by_the_workbook", False) is True:
        return Verdict("blank", (), "This is ours: run your own cell first, the one that defines "
                                    f"{name}.")
    if not callable(function):
        return Verdict("crash", (), f"{name} is no function but a {type(function).__name__}. Has "
                                    "its name been used for something else?")
    with _undisturbed():
        run = _Run(function, rounding=1e-9 if exercise.restores else 0.0)
        if exercise.examine is not None:
            return _examined(exercise, run, seed)
        return _compared(exercise, run, seed)


def _is_blank(function: Any) -> bool:
    """Whether a body holds nothing but pass, dots, None or a text; or names that are set to these.

    Read from the bytecode, since a cell's source is not always to be had.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    idle = {"RESUME", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "POP_TOP", "NOP", "STORE_FAST",
            "BUILD_TUPLE", "UNPACK_SEQUENCE", "LOAD_FAST", "LOAD_FAST_BORROW", "MAKE_CELL",
            "STORE_DEREF", "COPY_FREE_VARS", "CACHE"}
    stored: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname not in idle:
            return False
        if "CONST" in step.opname and not (
                step.argval is None or step.argval is ... or step.argval == code.co_consts[0]
                and isinstance(step.argval, str)
                or isinstance(step.argval, tuple) and set(step.argval) <= {None, ...}):
            return False
        if step.opname == "STORE_FAST":
            stored.add(step.argval)
        if step.opname.startswith("LOAD_FAST") and step.argval not in stored:
            return False  # an argument is handed back: wrong, but not blank
    return True


def _where(exercise: Exercise) -> str:
    return f"See “{exercise.section}” in notebook {exercise.notebook}."


def _sentences(*parts: str) -> str:
    return " ".join(part.strip() for part in parts if part and part.strip())


def _named(exercise: Exercise, names: Iterable[str], evidence: str) -> Verdict:
    names = tuple(names)
    if len(names) == 1:
        mistake = exercise.mistakes[names[0]]
        text = _sentences(mistake.idea, evidence, mistake.think, _where(exercise))
    else:
        one, two = (exercise.mistakes[name] for name in names)
        text = _sentences("Two things at once.", f"First: {one.idea}", one.think,
                          f"Second: {two.idea}", two.think, evidence, _where(exercise))
    return Verdict("known", names, text)


def _blank_or_crash(exercise: Exercise, run: _Run, error: BaseException) -> Verdict:
    if isinstance(error, NotImplementedError):
        return Verdict("blank", (), "Not written yet.")
    said = " ".join(str(error).split())
    said = f": {said[:160]}{'…' if len(said) > 160 else ''}" if said else ""
    return Verdict("crash", (), _sentences(
        f"Your function stops with {type(error).__name__}{said}{'' if said[-1:] in '.!?' else '.'}",
        _their_line(run.function, error), _where(exercise)))


def _their_line(function: Any, error: BaseException) -> str:
    """The reader's own line that raised, as text; "" when it can't be told."""
    code = getattr(function, "__code__", None)
    ours = {str(Path(exercises.__file__)), __file__}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__, limit=-60)
              if frame.filename not in ours]
    if code is not None:
        same_file = [frame for frame in frames if frame.filename == code.co_filename]
        frames = same_file or frames[:1]
    if not frames:
        return ("It is called with other arguments than it takes; compare with the exercise's "
                "signature." if isinstance(error, TypeError) else "")
    frame = frames[-1]
    line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"That is line {frame.lineno}" + (f" of your cell: {line}" if line else ".")


def _compared(exercise: Exercise, run: _Run, seed: int) -> Verdict:
    """Compare with ours, and with what is known to go wrong, on the cases of this seed."""
    cases, ours = _cases(exercise.name, seed)
    theirs = []
    for case in cases:
        theirs.append(_outcome(exercise, run, case))
        if isinstance(theirs[-1].error, NotImplementedError) and run.calls == 1:
            return Verdict("blank", (), "Not written yet.")
    changed = run.changed >= 0
    if changed and not exercise.restores:
        return _changed(exercise, run)
    with np.errstate(all="ignore"):
        fine = [_same(one, two, exercise.tolerance)
                for one, two in zip(ours, theirs, strict=True)]
        stopped = [outcome.error for outcome in theirs if outcome.error is not None]
        if all(fine):
            # In float32 even a z that was clipped for float64 overflows: that is forgiven.
            if exercise.minds_overflow and any(outcome.overflowed and not outcome.single
                                               for outcome in theirs):
                return _overflowed(exercise, cases, theirs)
            names = _nearly_right(exercise, seed, theirs)
            if names:
                return _named(exercise, names, _evidence(
                    exercise, cases, ours, theirs, [_same(one, two, _TIGHT) for one, two in
                                                    zip(ours, theirs, strict=True)]))
            return _changed(exercise, run) if changed else Verdict(
                "right", (), f"Right. {exercise.why}")
        warm = exercise.warm and not stopped and not _same(
            theirs[0], theirs[-1], exercise.tolerance)
        names = _known(exercise, seed, theirs)
        if warm and exercise.warm not in names:
            names = (exercise.warm,)
        if not names and stopped:
            means = exercise.stops if len(stopped) < len(cases) else exercise.stops_always
            meant = {means.get(type(error).__name__, "") for error in stopped}
            if len(meant) == 1 and "" not in meant and all(
                    good or outcome.error is not None
                    for good, outcome in zip(fine, theirs, strict=True)):
                names = tuple(meant)
        if names:
            return _named(exercise, names, _evidence(exercise, cases, ours, theirs, fine))
        if changed:
            return _changed(exercise, run)
        if stopped:
            return _blank_or_crash(exercise, run, stopped[0])
        return _unknown(exercise, cases, ours, theirs, fine)


def _changed(exercise: Exercise, run: _Run) -> Verdict:
    try:
        names = list(inspect.signature(exercise.answer).parameters)
        which = names[run.changed]
    except (ValueError, TypeError, IndexError):
        which = "its argument"
    return Verdict("mutates", (), _sentences(
        f"Your function changes {which}, which belongs to the caller.",
        f"After {'one call' if run.calls == 1 else f'{run.calls} calls'} it was no longer what we "
        "had handed in.", "Whoever uses it afterwards computes with other numbers. Work on new "
        "arrays instead.", _where(exercise)))


def _overflowed(exercise: Exercise, cases: tuple[Case, ...], theirs: list[_Outcome]) -> Verdict:
    about = next(case.about for case, outcome in zip(cases, theirs, strict=True)
                 if outcome.overflowed)
    return _named(exercise, [exercise.stops["OverflowError"]],
                  f"Your values are right, but NumPy warns of an overflow {about}.")


def _evidence(exercise: Exercise, cases: tuple[Case, ...], ours: tuple[_Outcome, ...],
              theirs: list[_Outcome], fine: list[bool]) -> str:
    """What differs, in numbers: a constant factor where there is one, else the first values."""
    several = [i for i, good in enumerate(fine) if not good and theirs[i].error is None]
    factors = _factors(exercise, ours, theirs, several)
    if len(factors) > 1:
        shown = [f"{_times(factor)} ours {cases[i].about}" for i, factor in factors[:2]]
        return f"You get {shown[0]}, {shown[1]}."
    part = _scaled_part(exercise, cases, ours, theirs, several)
    if part:
        return part
    for i in several:
        text = _first_difference(cases[i], ours[i], theirs[i], exercise.tolerance)
        if text:
            return text
    for case, mine in zip(cases, theirs, strict=True):
        if mine.error is not None:
            return (f"It stops {case.about} with {type(mine.error).__name__}; "
                    f"{sum(fine)} of {len(cases)} cases are right.")
    return ""


def _factors(exercise: Exercise, ours: tuple[_Outcome, ...], theirs: list[_Outcome],
             several: list[int]) -> list[tuple[int, float]]:
    """The factor of each of these cases, where all have one that tells something."""
    factors = [(i, _factor(ours[i], theirs[i], exercise.tolerance)) for i in several]
    if not factors or any(factor is None or abs(factor - 1) < 1e-3 for _, factor in factors):
        return []
    single = all(part.size == 1 for i in several for part in ours[i].parts.values())
    alike = max(f for _, f in factors) - min(f for _, f in factors) < 1e-4
    # Any two numbers have a quotient; it says something only when it is simple.
    if single and not (alike and len(factors) > 1) and not all(_simple(f) for _, f in factors):
        return []
    return factors


def _simple(factor: float) -> bool:
    return factor != 0 and min(abs(f - round(f)) for f in (factor, 1 / factor)) < 1e-3


def _scaled_part(exercise: Exercise, cases: tuple[Case, ...], ours: tuple[_Outcome, ...],
                 theirs: list[_Outcome], several: list[int]) -> str:
    """Of several arrays the first that differs, if it is ours times a simple number."""
    found = []
    for i in several:
        if theirs[i].parts is None or len(ours[i].parts) < 2:
            return ""
        for name, right in ours[i].parts.items():
            mine = theirs[i].parts.get(name)
            if mine is None or mine.shape != right.shape:
                return ""
            if _close(mine, right, exercise.tolerance):
                continue
            factor = _factor(_Outcome({name: right}), _Outcome({name: mine}), exercise.tolerance)
            if factor is None or right.size < 2 or not _simple(factor):
                return ""
            found.append((name, f"{_times(factor)} ours {cases[i].about}"))
            break
    if len(found) < 2 or found[0][0] != found[1][0] or "theta" in found[0][0]:
        return ""
    return f"Your {found[0][0]} is {found[0][1]}, {found[1][1]}."


def _factor(right: _Outcome, mine: _Outcome, tolerance: float) -> float | None:
    """The number by which everything is multiplied, if there is one."""
    if right.parts is None or mine.parts is None or right.parts.keys() != mine.parts.keys():
        return None
    if any(right.parts[name].shape != mine.parts[name].shape for name in right.parts):
        return None
    a = np.concatenate([array.ravel() for array in right.parts.values()])
    b = np.concatenate([array.ravel() for array in mine.parts.values()])
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not a.any() or not b.any():
        return None
    factor = float(a @ b / (a @ a))
    scale = max(np.abs(b).max(), 1e-9)
    if (np.abs(b - factor * a) <= 5 * tolerance * scale).all():
        return factor
    return None


def _times(factor: float) -> str:
    if abs(factor) < 1 and factor and abs(1 / factor - round(1 / factor)) < 1e-3:
        below = round(1 / abs(factor))
        return f"{'−' if factor < 0 else ''}1/{below} times" if below != 1 else (
            "−1 times" if factor < 0 else "1 times")
    return f"{_number(round(factor, 4))} times"


def _first_difference(case: Case, right: _Outcome, mine: _Outcome, tolerance: float) -> str:
    if right.parts is None:
        return ""
    if mine.misfit:
        return f"{case.about[:1].upper()}{case.about[1:]}: {mine.misfit}"
    if mine.parts is None:
        return ""
    begin = case.about[:1].upper() + case.about[1:] + ","
    missing = [name for name in right.parts if name not in mine.parts]
    if missing:
        return f"{begin} {len(mine.parts)} arrays come back where {len(right.parts)} are wanted."
    for name in right.parts:
        a, b = right.parts[name], mine.parts[name]
        if _close(b, a, tolerance):
            continue
        what = "you return" if name == "what you return" else f"your {name} is"
        if a.shape != b.shape:
            return (f"{begin} {what} an array of the shape {_shape(b)}; it should be "
                    f"{_shape(a)}." if b.ndim or a.ndim else f"{begin} the shapes differ.")
        broken = np.count_nonzero(~np.isfinite(b) & np.isfinite(a))
        if broken:
            return f"{begin} {broken} of {b.size} numbers are not finite."
        with np.errstate(all="ignore"):
            off = ~(np.abs(a - b) <= tolerance * max(np.abs(a).max(), 0.05))
        off |= ~np.isfinite(a) & ~np.equal(a, b)
        mine, wanted = b[off][:3], a[off][:3]
        digits = 4 if np.abs(mine - wanted).max() > 2e-3 * np.abs(wanted).max() else 8
        more = ", …" if np.count_nonzero(off) > 3 else ""
        if a.ndim == 0:
            return f"{begin} {what} {_number(b, digits)} where we get {_number(a, digits)}."
        return (f"{begin} {what} {_few(mine, 3, digits)}{more} where we get "
                f"{_few(wanted, 3, digits)}{more} "
                f"({np.count_nonzero(off)} of {a.size} numbers differ).")
    return ""


def _shape(array: np.ndarray) -> str:
    return "a single number" if array.ndim == 0 else str(tuple(array.shape))


def _unknown(exercise: Exercise, cases: tuple[Case, ...], ours: tuple[_Outcome, ...],
             theirs: list[_Outcome], fine: list[bool]) -> Verdict:
    """Wrong, and no known mistake explains it."""
    for case, right, mine in zip(cases, ours, theirs, strict=True):
        if mine.misfit:
            return Verdict("shape", (), _sentences(mine.misfit, f"That was {case.about}.",
                                                   _where(exercise)))
        names = right.parts.keys()
        if mine.parts.keys() != names or any(
                mine.parts[name].shape != right.parts[name].shape for name in names):
            text = _first_difference(case, right, mine, exercise.tolerance)
            turned = [name for name in names if name in mine.parts and right.parts[name].ndim == 2
                      and _close(mine.parts[name], right.parts[name].T, exercise.tolerance)]
            return Verdict("shape", (), _sentences(
                "The shape is not the one that is asked for.", text,
                "It is ours with rows and columns exchanged." if turned else "", _where(exercise)))
    wrong = [i for i, good in enumerate(fine) if not good]
    factors = [factor for _, factor in _factors(exercise, ours, theirs, wrong)]
    evidence = _evidence(exercise, cases, ours, theirs, fine)
    if factors:
        if all(abs(factor + 1) < 1e-4 for factor in factors):
            return Verdict("wrong", (), _sentences("Everything has the opposite sign.", evidence,
                                                   _where(exercise)))
        return Verdict("wrong", (), _sentences(
            "Everything is off by a factor.", evidence,
            "What could there be that many of, or what is missing?", _where(exercise)))
    for name in ours[wrong[0]].parts:
        pairs = [(ours[i].parts[name], theirs[i].parts[name]) for i in wrong
                 if name in ours[i].parts]
        if any(a.ndim == 2 and min(a.shape) > 1 for a, _ in pairs) and all(
                a.ndim == 2 and _close(b, a.T, exercise.tolerance)
                and not _close(b, a, exercise.tolerance) for a, b in pairs):
            return Verdict("wrong", (), _sentences(
                "Rows and columns are exchanged.", evidence, _where(exercise)))
    right_ones = sum(fine)
    return Verdict("wrong", (), _sentences(
        "Not right yet.", evidence,
        f"{right_ones} of {len(cases)} cases are right." if right_ones else "", _where(exercise)))


def _examined(exercise: Exercise, run: _Run, seed: int) -> Verdict:
    """What is drawn at random is judged by its properties."""
    try:
        with np.errstate(all="ignore"):
            exercise.examine(run, seed)
    except _Stopped as stopped:
        if isinstance(stopped.error, NotImplementedError) and run.calls == 1:
            return Verdict("blank", (), "Not written yet.")
        if run.changed >= 0:
            return _changed(exercise, run)
        return _blank_or_crash(exercise, run, stopped.error)
    except Misfit as misfit:
        if run.changed >= 0:
            return _changed(exercise, run)
        return Verdict("shape", (), _sentences(str(misfit), _where(exercise)))
    except Found as found:
        if run.changed >= 0:
            return _changed(exercise, run)
        if found.status == "known":
            return _named(exercise, found.mistakes, found.evidence)
        return Verdict(found.status, (), _sentences("Not right yet.", found.evidence,
                                                    _where(exercise)))
    if run.changed >= 0:
        return _changed(exercise, run)
    return Verdict("right", (), f"Right. {exercise.why}")


# ── For readers ───────────────────────────────────────────────────────────────────────────────────


def check(name: str, function: Any, *, seed: int = 0) -> Callable:
    """Judge, say the verdict, keep it; return the reader's function when it is right, else ours.

    Raises AssertionError only when the environment says WORKBOOK_STRICT=1.
    """
    verdict = judge(name, function, seed=seed)
    text = verdict.message
    lent = not verdict.right
    if verdict.status == "blank" and not text.startswith("This is ours"):
        text += (f" We lend you ours, so you can read on. hint(\"{name}\") helps, one step at a "
                 "time.")
    elif lent and verdict.status != "blank":
        text += f" Until it is right we go on with ours. hint(\"{name}\") helps."
    _say(_MARKS.get(verdict.status, "✗"), text, _COLOURS.get(verdict.status, "#b3261e"))
    _keep({"kind": "check", "exercise": name, "status": verdict.status,
           "mistakes": list(verdict.mistakes)})
    if lent and os.environ.get("WORKBOOK_STRICT") == "1":
        raise AssertionError(f"{name}: {verdict.message}")
    return _lend(name) if lent else function


@functools.cache
def _lend(name: str) -> Callable:
    answer = CATALOGUE[name].answer

    @functools.wraps(answer)
    def ours(*arguments: Any, **settings: Any) -> Any:
        return answer(*arguments, **settings)

    ours.lent_by_the_workbook = True
    return ours


_hints_given: dict[str, int] = {}


def hint(name: str, level: int | None = None) -> None:
    """One step further with each call: question, shapes and formula, an example, our lines."""
    if name not in CATALOGUE:
        raise KeyError(f"there is no exercise {name!r}; there are {', '.join(CATALOGUE)}")
    exercise = CATALOGUE[name]
    level = level or min(_hints_given.get(name, 0) + 1, 4)
    if level not in (1, 2, 3, 4):
        raise ValueError(f"hints have the levels 1 to 4; got {level}")
    _hints_given[name] = level
    if level == 4:
        try:
            text = "Our lines:\n\n" + inspect.getsource(exercise.answer).rstrip()
        except (OSError, TypeError):
            text = "Our lines are not part of this edition: level 3 is the last."
    else:
        text = exercise.hints[level - 1]
        if level == 1:
            text = _sentences(text, _where(exercise))
    print(f"Hint {level} of 4. {text}")


def progress() -> None:
    """What is right, tried and open, by notebook, with points."""
    latest: dict[str, str] = {}
    for entry in _entries():
        if entry.get("kind") == "check" and entry.get("exercise") in CATALOGUE:
            name, status = entry["exercise"], entry.get("status")
            if latest.get(name) != "right" and status:  # once right is right
                latest[name] = status
    points = {"right": 0, "all": 0}
    for notebook in dict.fromkeys(exercise.notebook for exercise in CATALOGUE.values()):
        groups: dict[str, list[str]] = {"right": [], "tried": [], "open": []}
        for name, exercise in CATALOGUE.items():
            if exercise.notebook == notebook:
                status = latest.get(name, "blank")
                group = {"right": "right", "blank": "open"}.get(status, "tried")
                groups[group].append(name)
                points["all"] += exercise.points
                points["right"] += exercise.points * (group == "right")
        print(f"Notebook {notebook}")
        for group, mark in (("right", "✓"), ("tried", "✗"), ("open", "✎")):
            if groups[group]:
                print(f"  {mark} {group}: {', '.join(groups[group])}")
    print(f"{points['right']} of {points['all']} points")


_predictions: dict[str, Any] = {}


def predict(name: str, value: Any) -> None:
    """Keep what the reader expects; three dots mean that nothing is said yet."""
    _predictions[name] = value
    if value is ...:
        _say("✎", "No prediction yet: put yours in the place of the dots. It counts only when it "
                  "is made before.", _COLOURS["blank"])
    else:
        _keep({"kind": "predict", "name": name, "value": _plain(value)})


def reveal(name: str, value: Any) -> None:
    """Say what it is, beside what was predicted."""
    said = _predictions.get(name, ...)
    if said is ...:
        _say("•", f"You made no prediction. It is {_shown(value)}.", _COLOURS["blank"])
        return
    good = _matches(said, value)
    text = (f"You were right: {_shown(value)}." if good else
            f"You said {_shown(said)}, it is {_shown(value)}.")
    _say("•", text, _COLOURS["right"] if good else _COLOURS["blank"])
    _keep({"kind": "reveal", "name": name, "said": _plain(said), "value": _plain(value)})


def _matches(said: Any, value: Any) -> bool:
    """Whether a prediction came true: texts and lists alike, numbers to 2 %."""
    with contextlib.suppress(Exception):
        if isinstance(said, str) or isinstance(value, str):
            return str(said).strip().casefold() == str(value).strip().casefold()
        a, b = np.asarray(said), np.asarray(value)
        if a.shape != b.shape:
            return False
        if a.dtype.kind in "iufb" and b.dtype.kind in "iufb":
            return bool(np.allclose(a, b, rtol=0.02, atol=0))
        return bool((a == b).all())
    return False


def _shown(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return _number(value) if abs(float(value)) < 1e4 else f"{float(value):,.0f}"
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(_shown(one) for one in value)
    return str(value)


_data_name = ""


def data_is(data: Any) -> None:
    """Say once which data a notebook works on: claims are about the real data, not the digits.

    data : what `helpers.load_data` returned, or a name
    """
    global _data_name
    _data_name = str(getattr(data, "name", data))


def claim(text: str, value: Any, low: float, high: float, *, everywhere: bool = False) -> None:
    """Hold a sentence of the prose to its number: silent when low ≤ value ≤ high.

    On the digits, which stand in where the real data can't be had, it says "not checked here";
    with ``everywhere`` (committed tables, records) it is checked there too. Raises AssertionError.
    """
    if _data_name == "digits" and not everywhere:
        print(f"not checked here: {text}")
        return
    number = float(value)
    if not low <= number <= high:  # nan is outside too
        raise AssertionError(f"{text}: {_number(number)} is not between {_number(low)} and "
                             f"{_number(high)}")


# ── Saying and keeping ────────────────────────────────────────────────────────────────────────────


def _say(mark: str, text: str, colour: str) -> None:
    """Plain text everywhere; in a notebook with colour."""
    plain = f"{mark} {text}"
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        first, dot, rest = text.partition(". ")
        page = (f'<div style="border-left:4px solid {colour};padding:.3em .8em">'
                f'<b style="color:{colour}">{html.escape(f"{mark} {first}{dot.strip()}")}</b> '
                f'{html.escape(rest)}</div>')
        from IPython.display import display

        display({"text/plain": plain, "text/html": page}, raw=True)
    else:
        print(plain)


def _journal() -> Path:
    return Path(os.environ.get("WORKBOOK_REPORTS") or _HERE / "reports" / "local"
                ) / "progress.jsonl"


def _keep(entry: dict[str, Any]) -> None:
    """One line more in the reader's journal. A folder that can't be written stops nobody."""
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **entry}
    path = _journal()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    except OSError as error:
        print(f"(Your progress can't be kept in {path}: {error.strerror}.)")


def _entries() -> Iterator[dict[str, Any]]:
    try:
        lines = _journal().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    with contextlib.suppress(Exception):
        if isinstance(value, (str, bool, int, float)) or value is None:
            return value
        return np.asarray(value).tolist()
    return str(value)
