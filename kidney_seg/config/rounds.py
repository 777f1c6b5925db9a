"""Settings of the rounds of progressive training."""

from __future__ import annotations

from dataclasses import dataclass

from kidney_seg.config.validation import check, check_choice


@dataclass(frozen=True)
class RoundsConfig:
    """Progressive training (paper, Figure 2). The loop is the paper's; its numbers are ours, it gives none."""

    mode: str = "progressive"
    """`progressive`; to compare with: `restarts`: its rounds on all patients; `plain`: one long one on all. [paper]"""
    starts: int = 3
    """Fresh networks in round 0, of which the best goes on. [J: single starts collapse now and then]"""
    start_steps: int = 500
    """Optimizer steps of each start. [J]"""
    steps: int = 1000
    """Optimizer steps of each later round. [J]"""
    max_rounds: int = 10
    """Later rounds at most. [J; paper: until no improvement]"""
    patience: int = 2
    """Rounds without improvement before the end; 1 is the paper's words taken literally. [J]"""
    min_delta: float = 0.002
    """What counts as an improvement of the score. [J: scores of few patients are noisy]"""
    patient_share: float = 0.5
    """Training patients drawn for a round. [J; paper: "randomly selected training dataset"]"""
    warm_start: str = "best"
    """Weights that a round starts from: of the `best` round so far, or of the `last`. [J]"""
    stop_on: str = "selection"
    """Patients that judge a round; `test` is the paper's protocol, and is optimistic. [J]"""
    optimizer: str = "adam"
    """`adam`, or the authors' `sgd` with momentum 0.9. [J]"""
    peak_rate: float = 1e-3
    """Learning rate after the warm-up of round 0; falls as a cosine to 1 % within a round. [J]"""
    rate_decay: float = 0.7
    """The peak of round n is peak_rate * rate_decay**n. [J; paper: "fine-tuned"]"""
    warmup_share: float = 0.05
    """Of a round's steps, in which the rate rises from 0. [J]"""
    clipnorm: float = 1.0
    """Largest global norm of the gradients. [J: the loss is steep near TI = 1]"""
    retries: int = 2
    """A collapsed round is tried again this often, with a new draw and half the rate. [J]"""
    checkpoint_seconds: float = 60.0
    """A running round is saved this often, and after every epoch. [J: what a crash may cost]"""
    jit_compile: str = "auto"
    """Training steps compiled by XLA: `on`, `off`, or `auto`: on where there is one GPU. [J: the default of Keras]"""
    devices: str = "one"
    """Devices that share a batch, of each process: `one`, or `all`; may change when a run goes on. [J]"""

    def __post_init__(self) -> None:
        for name in ("starts", "start_steps", "steps", "patience"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("max_rounds", "min_delta", "retries", "checkpoint_seconds"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        check(0 < self.patient_share <= 1, "patient_share", self.patient_share, "a share above 0, at most 1")
        check_choice("mode", self.mode, ("progressive", "restarts", "plain"))
        check_choice("warm_start", self.warm_start, ("best", "last"))
        check_choice("stop_on", self.stop_on, ("selection", "test"))
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("jit_compile", self.jit_compile, ("auto", "on", "off"))
        check_choice("devices", self.devices, ("one", "all"))
        for name in ("peak_rate", "rate_decay", "clipnorm"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        check(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "a share from 0 to below 1")

    def later_rounds(self) -> tuple[int, int, float]:
        """Return what the mode makes of the rounds after round 0: how many, of how many steps, on which share."""
        if self.mode == "plain":
            return min(self.max_rounds, 1), self.max_rounds * self.steps, 1.0
        return self.max_rounds, self.steps, self.patient_share if self.mode == "progressive" else 1.0
