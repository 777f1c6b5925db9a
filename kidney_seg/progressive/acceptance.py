"""Whether a round needs another attempt, and whether its best attempt is accepted; `rounds` ends the training.

Needs no TensorFlow.
"""

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
    """Return the result of a round: the best of its attempts.

    It is accepted if it improves on `best` without a collapse; whatever its score, if `best` has collapsed.
    """
    chosen = max(attempts, key=lambda attempt: (not attempt.trouble, attempt.score))
    improves = best is None or bool(best.trouble) or chosen.score > best.score + min_delta
    accepted = best is None or (not chosen.trouble and improves)
    kept = ("round", "attempt", "kidney", "tumor", "score", "trouble", "steps", "weights", "sha256")
    return RoundPlayed(accepted=accepted, **{name: getattr(chosen, name) for name in kept})


def describe_round(record: RoundPlayed, best: RoundPlayed | None, min_delta: float) -> str:
    """Return whether a round is accepted, and the reason if it is not; `best`: of the rounds before.

    >>> describe_round(RoundPlayed(1, score=0.501), RoundPlayed(0, accepted=True, score=0.5), 0.002)
    'rejected, not 0.002 better than 0.500'
    """
    if best is None:
        return f"kept, though every start failed: {record.trouble}" if record.trouble else "accepted"
    if record.accepted:
        return "accepted"
    if record.trouble:
        return f"rejected: {record.trouble}"
    return f"rejected, not {min_delta:g} better than {best.score:.3f}"
