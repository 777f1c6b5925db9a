"""When a round is done, and whether its result is accepted. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from kidney_seg.config.run_config import Config
from kidney_seg.run.journal import AttemptTrained, RoundPlayed


def needs_another(attempts: Sequence[AttemptTrained], number: int, config: Config) -> bool:
    """Return whether a round needs another attempt: all starts of round 0 are trained; a collapse is retried."""
    wanted = config.rounds.starts if number == 0 else 1
    if len(attempts) < wanted:
        return True
    return all(attempt.trouble for attempt in attempts) and len(attempts) < wanted + config.rounds.retries


def end_round(attempts: Sequence[AttemptTrained], best: RoundPlayed | None, min_delta: float) -> RoundPlayed:
    """Return the result of a round: the best of its attempts, accepted if it improves on `best` without a collapse."""
    chosen = max(attempts, key=lambda attempt: (not attempt.trouble, attempt.score))
    accepted = best is None or (not chosen.trouble and chosen.score > best.score + min_delta)
    kept = ("round", "attempt", "kidney", "tumor", "score", "trouble", "steps", "weights", "sha256")
    return RoundPlayed(accepted=accepted, **{name: getattr(chosen, name) for name in kept})
