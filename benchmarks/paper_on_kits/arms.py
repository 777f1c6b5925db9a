"""Arms of the paper's experiment: one table. Each is the paper's method with one change.

All arms take the same number of steps, with the same patients and samples wherever the change leaves that possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.real_slices.arms import Arm, CohortSettings
from data_prep.errors import InputError
from data_prep.geometry.network_grid import GridSettings

METHOD = "method"
ROUNDS = 5  # of equal length, round 0 among them; all are played, whatever their scores
STEPS = 1000  # of a training, all rounds together: eight arms of a fold in less than an hour on one core
SIZE, FIELD_MM = 96, 288.0  # of the network's grid; the stacks are about 250 mm wide
CURVE = (15, 30, 60)  # training patients of the learning curve; the method itself has all of its fold
# The window is the widest that all stacks have. Nearly every slice has a tumor: kinds are drawn as often as they occur.
# The rate is for a quarter of the width, the momentum for rounds of a few hundred steps.
COMMON = ("hu_window=0,255", "shares=0.99,0.01,0", "starts=1", "retries=0", "peak_rate=2e-3", "batch_norm_momentum=0.9")
OF_FULL_WIDTH = ("peak_rate=1e-3",)
SIMULATED = CohortSettings(looks=1, size=128, thickness_mm=5.0, appearance="wild", cases=60)
GROUPS = {
    "paper": "what the paper claims",
    "open": "what the paper leaves open",
    "curve": "patients, and simulated ones before or beside them",
    "size": "256 pixels and the paper's width",
}


@dataclass(frozen=True)
class Change:
    """One arm: what is changed (`why`), by which settings, and the arm that it is compared with.

    patients: of the training set, None for all. simulated: `before` (they teach the initial weights), `beside` (they
    are training patients), or empty. rounds: into which the steps are divided.
    """

    why: str
    group: str
    settings: tuple[str, ...] = ()
    against: str = METHOD
    rounds: int = ROUNDS
    size: int = SIZE
    width_factor: float = 0.25
    patients: int | None = None
    simulated: str = ""


def _curve() -> dict[str, Change]:
    made = {f"patients-{n}": Change(f"{n} training patients", "curve", patients=n) for n in CURVE}
    for n in (*CURVE, None):
        alone, count = (METHOD, "all") if n is None else (f"patients-{n}", str(n))
        for place in ("before", "beside"):
            why = f"{count} training patients, simulated ones {place} them"
            made[f"simulated-{place}-{count}"] = Change(why, "curve", against=alone, patients=n, simulated=place)
    return made


def _open() -> dict[str, Change]:
    strong = "scale=0.25 rotation_deg=25 contrast=0.3 brightness_hu=40 blur_px=1 gamma_change=0.5 noise_hu=20"
    none = "shift=0 scale=0 rotation_deg=0 flip=0 contrast=0 brightness_hu=0"
    changes = {
        "alpha-0.5": ("misses weigh as much as false alarms", "alpha=0.5"),
        "exponent-1.33": ("the exponent 4/3, not its inverse", "exponent=1.3333"),
        "regions": ("loss on kidney + tumor and tumor, not on classes", "target=regions"),
        "batch-16": ("16 slices a step", "batch_size=16"),
        "rate-third": ("a third of the rate", "peak_rate=6.7e-4"),
        "rate-triple": ("three times the rate", "peak_rate=6e-3"),
        "augmentation-none": ("no augmentation", none),
        "augmentation-strong": ("the augmentation of few_patients", strong),
        "decoder-inline": ("decoder blocks also in the main path", "decoder=inline"),
        "bfloat16": ("half precision inside", "precision=mixed_bfloat16"),
        "targets-average": ("coarse heads see means, not every s-th pixel", "coarse_targets=average"),
    }
    return {name: Change(why, "open", tuple(text.split())) for name, (why, text) in changes.items()}


ARMS: dict[str, Change] = {  # in the order of work
    METHOD: Change("the paper's method", "paper"),
    "one-training": Change("one training of equal steps, no rounds", "paper", rounds=1),
    "random-starts": Change("every round from random weights", "paper", ("warm_start=none",)),
    "tversky": Change("plain Tversky, not focal", "paper", ("loss_function=tversky",)),
    "dice-cross-entropy": Change("Dice and cross-entropy", "paper", ("loss_function=dice_cross_entropy",)),
    "no-gates": Change("no attention gates", "paper", ("gates=",)),
    "one-scale": Change("the image enters at one scale", "paper", ("multi_scale_input=false",)),
    "one-output": Change("one supervised output", "paper", ("deep_supervision=false",)),
    **_curve(),
    **_open(),
    "method-256": Change("256 pixels, the paper's width", "size", OF_FULL_WIDTH, size=256, width_factor=1.0),
    "one-training-256": Change(
        "the same, no rounds", "size", OF_FULL_WIDTH, against="method-256", rounds=1, size=256, width_factor=1.0
    ),
}


def find_names(names: Sequence[str]) -> list[str]:
    """Return the arms of these names and groups, in the order of `ARMS`; InputError for an unknown one."""
    for name in names:
        if name not in ARMS and name not in GROUPS:
            raise InputError(f"--arms {name}: expected groups ({', '.join(GROUPS)}) or arms ({', '.join(ARMS)})")
    return [name for name, change in ARMS.items() if name in names or change.group in names]


def make_arm(name: str, steps: int, more: Sequence[str] = ()) -> Arm:
    """Return an arm as the cross-validation trains it. more: settings over its own.

    InputError unless the steps can be divided into rounds of equal length.
    """
    change = ARMS[name]
    if steps < ROUNDS or steps % ROUNDS:
        raise InputError(f"--steps {steps}: expected a multiple of {ROUNDS}, the number of rounds")
    each, later = steps // change.rounds, change.rounds - 1
    rounds = (f"start_steps={each}", f"steps={each}", f"max_rounds={later}", f"patience={change.rounds}")
    settings = (*COMMON, f"width_factor={change.width_factor:g}", *rounds, *change.settings, *more)
    grid = GridSettings(change.size, FIELD_MM / change.size)
    teacher = None
    if change.simulated == "before":
        teacher = Arm("simulated", "simulated patients alone", grid, "paper", _of_teacher(settings), cohort=SIMULATED)
    return Arm(name, change.why, grid, "paper", settings, teacher=teacher)


def _of_teacher(settings: Sequence[str]) -> tuple[str, ...]:
    """Return the settings of a teacher: whole volumes, so that all kinds of slices are drawn equally often."""
    return (*(one for one in settings if not one.startswith("shares=")),)
