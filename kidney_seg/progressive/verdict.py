"""Whether a training failed: what happened, what was tried, and what to do. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.cache.manifest import Manifest
from kidney_seg.config.run_config import Config
from kidney_seg.run.journal import AttemptTrained, Journal, RoundPlayed

NAN = "the loss is NaN"
FEW_STEPS = 100  # fewer in a start are seldom enough, even for the demo
MOST_TRIED = 6  # attempts that are listed


@dataclass(frozen=True)
class Failure:
    """A training that failed; each field is a sentence without its period."""

    happened: str
    tried: str
    remedy: str

    def lines(self) -> list[str]:
        """Return the last lines of a training that failed."""
        return [f"training failed: {self.happened}", f"tried: {self.tried}", f"to do: {self.remedy}"]


def find_failure(journal: Journal, config: Config, unjudged: str | None = None) -> Failure | None:
    """Return why a run failed whose rounds are played; None if its best network can be used.

    unjudged: of `find_unjudged`.
    """
    best = journal.last(RoundPlayed, accepted=True)
    if best is None or not (best.trouble or unjudged):
        return None
    attempts = journal.all_of(AttemptTrained)
    tried = "; ".join(_attempt(one) for one in attempts[:MOST_TRIED])
    if len(attempts) > MOST_TRIED:
        tried += f"; and {len(attempts) - MOST_TRIED} more"
    if not best.trouble:
        remedy = "split again so that a validation patient has a tumor: python -m data_prep.split"
        return Failure(f"there is nothing to judge by: {unjudged}", tried, remedy)
    what = best.trouble if best.trouble == NAN else f"the network has collapsed: {best.trouble}"
    return Failure(f"{what} (the best of {len(attempts)} attempts)", tried, _remedy(best, config))


def find_unjudged(manifest: Manifest, split: Mapping[str, Sequence[str]], judges: str) -> str | None:
    """Return why the tumor cannot be judged: the training patients have one and those of the set `judges` have none."""
    if _has_tumor(manifest, split["train"]) and not _has_tumor(manifest, split[judges]):
        return f"no patient of the {judges} set has a labeled tumor"
    return None


def _has_tumor(manifest: Manifest, patients: Sequence[str]) -> bool:
    entries = [entry for entry in manifest.entries if entry.patient in set(patients)]
    return any(row[2] for entry in entries for row in entry.pixels or ())


def _attempt(one: AttemptTrained) -> str:
    name = f"round {one.round}, " + (f"start {one.attempt + 1}" if one.round == 0 else f"attempt {one.attempt + 1}")
    return f"{name} ({one.steps} steps, rate {one.rate:.2g}): {one.trouble or f'score {one.score:.3f}'}"


def _remedy(best: RoundPlayed, config: Config) -> str:
    rounds = config.rounds
    if best.trouble == NAN:
        return (
            f"train with a lower rate into a new --out: --set peak_rate={rounds.peak_rate / 10:.2g}; "
            "if it is NaN again, check the cache: python -m data_prep.check CACHE"
        )
    if rounds.start_steps < FEW_STEPS:
        return f"train longer: --set start_steps={max(500, 10 * rounds.start_steps)}, with a new --out"
    return (
        f"another --seed or more starts (--set starts={2 * rounds.starts}); more steps (--set start_steps="
        f"{2 * rounds.start_steps}); check the labels (python -m data_prep.check CACHE), see rounds/*/worst*.png"
    )
