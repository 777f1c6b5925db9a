"""Settings of the rounds of progressive training: number, length, end, patients, optimizer, retries, devices."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.checks import Section, check, choice, setting


@dataclass(frozen=True)
class RoundsConfig(Section):
    """Progressive training (paper, Figure 2). The loop is the paper's; the paper gives no numbers, these are ours."""

    mode: str = choice(
        ("progressive", "restarts", "plain"),
        "`restarts`: rounds on all patients; `plain`: one long round on all",
        "paper",
    )
    starts: int = setting(3, "networks trained in round 0; the best is kept", "J: single starts sometimes collapse", 1)
    start_steps: int = setting(500, "optimizer steps of each start", "J", 1)
    steps: int = setting(1000, "optimizer steps of each later round", "J", 1)
    max_rounds: int = setting(10, "largest number of later rounds", "J; paper: until no improvement", 0)
    patience: int = setting(2, "rounds without improvement before training ends", "J; paper, taken literally: 1", 1)
    min_delta: float = setting(0.002, "smallest improvement of the score", "J: scores of few patients are noisy", 0)
    patient_share: float = setting(
        0.5, "share of the training patients drawn for a round", 'J; paper: "randomly selected training dataset"'
    )
    warm_start: str = choice(
        ("best", "last", "none"), "round whose weights the next one starts from; none: random ones, as in round 0", "J"
    )
    stop_on: str = choice(("validation", "test"), "patients that validate a round; paper: test, optimistic", "J")
    optimizer: str = choice(("adam", "sgd"), "sgd: the authors', with momentum 0.9", "J")
    peak_rate: float = setting(1e-3, "learning rate after the warm-up; falls as a cosine to 1 % within a round", "J")
    rate_decay: float = setting(0.7, "the peak of round n is peak_rate * rate_decay**n", 'J; paper: "fine-tuned"')
    warmup_share: float = setting(0.05, "share of a round's steps in which the rate rises from 0", "J")
    clipnorm: float = setting(1.0, "largest global norm of the gradients", "J: the loss is steep near TI = 1")
    retries: int = setting(2, "retries of a collapsed round, each with a new draw and half the rate", "J", 0)
    checkpoint_seconds: float = setting(60.0, "seconds between checkpoints; also one after every epoch", "J", 0)
    jit_compile: str = choice(("auto", "on", "off"), "XLA for training steps; auto: with one GPU", "J: Keras' default")
    devices: str = choice(("one", "all"), "devices per process that share a batch; may change on resuming", "J")

    def __post_init__(self) -> None:
        if self.stop_on == "selection":  # the set's name up to version 0.1
            object.__setattr__(self, "stop_on", "validation")
        super().__post_init__()
        check(0 < self.patient_share <= 1, "patient_share", self.patient_share, "a share above 0, at most 1")
        for name in ("peak_rate", "rate_decay", "clipnorm"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        check(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "a share from 0 to below 1")

    def later_rounds(self) -> tuple[int, int, float]:
        """Return number, steps and share of patients of the rounds after round 0, which depend on `mode`."""
        if self.mode == "plain":
            return min(self.max_rounds, 1), self.max_rounds * self.steps, 1.0
        return self.max_rounds, self.steps, self.patient_share if self.mode == "progressive" else 1.0
