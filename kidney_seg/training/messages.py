"""Messages from the leading process to those that follow."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.pipeline.sampling import Samples

COLUMNS = tuple(Samples.__dataclass_fields__)


def hello_message(config: Config, data_sha256: str, patients: Sequence[str]) -> bytes:
    """Return what process 0 says before the first round: settings, data, and the training patients."""
    return json.dumps({"config": config.to_dict(), "data_sha256": data_sha256, "patients": list(patients)}).encode()


def round_message(state: Mapping[str, np.ndarray], epochs: Sequence[Samples], peak_rate: float, steps: int) -> bytes:
    """Return what a follower needs of a round that begins after `steps` steps, as the bytes of an .npz file."""
    facts = {"peak_rate": peak_rate, "steps": steps}
    columns = {f"samples_{name}": np.stack([getattr(epoch, name) for epoch in epochs]) for name in COLUMNS}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, facts=np.array(json.dumps(facts)), **columns, **state)
    return stream.getvalue()
