"""Tables of the experiment as Markdown, made from journals alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean

from benchmarks.paper_on_kits.arms import GROUPS, METHOD
from benchmarks.paper_on_kits.journals import STRUCTURES, Journal
from kidney_seg.evaluate.case_scores import POSTPROCESSED
from kidney_seg.metrics.statistics import by_patient, mean_interval, paired_difference

PAPER = (0.953, 0.572, 0.763)  # its Table 1: kidney, tumor, average
CAPTION = "The stacks are the middle of the image, and nearly every slice has a tumor."
TASK = (
    "The paper scored 40 whole scans, most of whose slices have no tumor. Here only the slices around tumors are "
    "scored, and the patients are others. So do not compare the figures with the paper's."
)
Arms = Mapping[tuple[str, int], Sequence[Journal]]  # by name and steps
Select = Callable[[Journal, str], Mapping[str, float]]


def tables(journals: Sequence[Journal]) -> str:
    """Return all tables that the journals give: Table 1, the groups of arms, what each took and how to repeat it."""
    arms: dict[tuple[str, int], list[Journal]] = {}
    for one in journals:
        arms.setdefault((one.plan.arm, one.plan.steps), []).append(one)
    parts = [_table1(own) for (name, _), own in arms.items() if name == METHOD]
    for group, what in GROUPS.items():
        own = {key: runs for key, runs in arms.items() if runs[0].group == group}
        if any(runs[0].against for runs in own.values()):
            parts.append(_comparison(what, own, arms))
    return "\n\n".join([*parts, _work(arms), _repeat(arms)]) + "\n"


def post(journal: Journal, structure: str) -> Mapping[str, float]:
    """Return the post-processed Dice by patient."""
    return journal.score(POSTPROCESSED + structure)


def raw(journal: Journal, structure: str) -> Mapping[str, float]:
    """Return the Dice by patient as predicted."""
    return journal.score(structure)


def means(journals: Iterable[Journal], structure: str, select: Select = post) -> dict[str, float]:
    """Return the Dice by patient, averaged over the seeds that scored it."""
    rows = [{"patient": name, "dice": value} for one in journals for name, value in select(one, structure).items()]
    return by_patient(rows, "dice")


def matched(first: Sequence[Journal], second: Sequence[Journal]) -> tuple[list[Journal], list[Journal]]:
    """Return the journals of both arms of the folds, seeds and steps that both have."""
    places = [{(one.plan.fold, one.plan.seed, one.plan.steps): one for one in arm} for arm in (first, second)]
    both = sorted(set(places[0]) & set(places[1]))
    return [places[0][place] for place in both], [places[1][place] for place in both]


def _table1(runs: Sequence[Journal]) -> str:
    rows = [("the paper, 40 whole scans", *map(_dice, PAPER))]
    for text, select in (("as predicted", raw), ("post-processed", post)):
        own = [list(means(runs, name, select).values()) for name in STRUCTURES]
        cells = [f"{_dice(_mean(values))} {_interval(mean_interval(values))}".strip() for values in own]
        rows.append((f"the method on stacks, {text}", *cells, _dice(fmean(map(_mean, own)))))
    title = (
        "**Table 1 of real patients.** Volumetric Dice by patient at the resolution of the files, with 95 % intervals: "
        f"{len(means(runs, 'tumor'))} test patients, {_listed(runs, 'fold')}, {_listed(runs, 'seed')}, "
        f"{runs[0].plan.steps:,} steps. {CAPTION} {TASK}"
    )
    return f"{title}\n\n{_markdown(('', *STRUCTURES, 'average'), rows)}"


def _comparison(what: str, own: Arms, arms: Arms) -> str:
    rows = []
    for (name, steps), runs in own.items():
        other = runs[0].against
        rows.append(_compared(name, runs[0].why, runs, other, arms.get((other, steps), ())))
        if name == METHOD:
            rows.append(_compared(f"{name}, as predicted", "no post-processing", runs, METHOD, runs, raw))
    head = ("arm", "what differs", "against", "trainings", "patients")
    scores = [text for name in STRUCTURES for text in (name, "difference")]
    title = (
        f"**{what[0].upper()}{what[1:]}.** Post-processed Dice by patient, and differences paired by patient, over the "
        "folds and seeds that both arms have. The 95 % intervals are over patients, not over trainings; **bold** "
        f"excludes zero. Failed: trainings whose best round has collapsed. {CAPTION}"
    )
    return f"{title}\n\n{_markdown((*head, *scores, 'failed'), rows)}"


def _compared(
    name: str, why: str, runs: Sequence[Journal], other: str, others: Sequence[Journal], select: Select = post
) -> tuple[str, ...]:
    """Return the row of an arm: all its trainings, or those that are matched by one of the `other` arm."""
    theirs, ours = matched(others, runs)
    shown = ours or runs
    cells = []
    for structure in STRUCTURES:
        own = means(shown, structure, select)
        cells.append(_dice(_mean(own.values())))
        difference, low, high, count = paired_difference(means(theirs, structure), own)
        cells.append(_difference(difference, low, high) if count else "")
    first = (f"`{name}`", why, f"`{other}`" if ours else "", str(len(shown)), str(len(means(shown, "tumor"))))
    return (*first, *cells, str(sum(one.trouble is not None for one in shown)))


def _work(arms: Arms) -> str:
    head = ("arm", "trainings", "training patients", "steps of each", "hours, with pauses", "folds", "seeds")
    rows, machines = [], [_machine(runs) for runs in arms.values()]
    for (name, _), runs in arms.items():
        steps = _range([one.steps for one in runs])
        if taught := runs[0].teacher_steps:
            steps += f", after {taught:,} on simulated patients"
        hours = sum(one.seconds for one in runs) / 3600
        cells = (str(len(runs)), _range([one.trained_on for one in runs]), steps, f"{hours:.1f}")
        rows.append((f"`{name}`", *cells, _numbers(runs, "fold"), _numbers(runs, "seed")))
    if len(set(machines)) == 1:
        return f"**What it took** on {machines[0]}, without validation and scoring:\n\n{_markdown(head, rows)}"
    rows = [(*row, machine) for row, machine in zip(rows, machines, strict=True)]
    return f"**What it took**, without validation and scoring:\n\n{_markdown((*head, 'by'), rows)}"


def _machine(runs: Sequence[Journal]) -> str:
    names = (f"{one.processor}, {one.threads} threads, TensorFlow {one.versions.get('tensorflow')}" for one in runs)
    return "; ".join(dict.fromkeys(names))


def _repeat(arms: Arms) -> str:
    same: dict[str, list[str]] = {}  # names of the arms that one command trains
    for (name, steps), runs in arms.items():
        folds, seeds = _numbers(runs, "fold").replace(",", ""), _numbers(runs, "seed").replace(",", "")
        extra = f" --set {' '.join(runs[0].plan.extra)}" if runs[0].plan.extra else ""
        same.setdefault(f"--folds {folds} --seeds {seeds} --steps {steps}{extra}", []).append(name)
    start = "python -m benchmarks.paper_on_kits STACKS --out OUT --arms"
    lines = [f"{start} {' '.join(names)} {options}" for options, names in same.items()]
    return "All again, or an arm alone, with `STACKS` the folder of stacks:\n\n```sh\n" + "\n".join(lines) + "\n```"


def _numbers(runs: Sequence[Journal], key: str) -> str:
    return ", ".join(map(str, sorted({getattr(one.plan, key) for one in runs})))


def _listed(runs: Sequence[Journal], key: str) -> str:
    """Return `seed 0` or `folds 0, 1`."""
    numbers = _numbers(runs, key)
    return f"{key}{'s' * (',' in numbers)} {numbers}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _mean(values: Collection[float]) -> float:
    return fmean(values) if values else math.nan


def _dice(value: float) -> str:
    """Return a Dice as the other pages write it; a hyphen for NaN.

    >>> _dice(0.5724), _dice(1.0), _dice(math.nan)
    ('.572', '1.000', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:.3f}".removeprefix("0")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("+0.", "+.").replace("-0.", "-.")


def _interval(ends: tuple[float, float]) -> str:
    return "" if math.isnan(ends[0]) else f"[{_dice(ends[0])}, {_dice(ends[1])}]"


def _difference(mean: float, low: float, high: float) -> str:
    if math.isnan(low):
        return _signed(mean)
    text = f"{_signed(mean)} [{_signed(low)}, {_signed(high)}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
