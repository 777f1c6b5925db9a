"""A process that follows: it trains its share of every round that process 0 plays, and writes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from data_prep.cache import Manifest
from data_prep.command import InputError
from kidney_seg.config import Config, differences
from kidney_seg.interrupt import Stopped, StopRequest
from kidney_seg.pipeline import Samples
from kidney_seg.slices import SliceStore

if TYPE_CHECKING:
    from kidney_seg.processes import Group

_COLUMNS = tuple(Samples.__dataclass_fields__)


def hello_message(config: Config, data_sha256: str, patients: Sequence[str]) -> bytes:
    """Return what process 0 says before the first round: settings, data, and the training patients."""
    return json.dumps({"config": config.to_dict(), "data_sha256": data_sha256, "patients": list(patients)}).encode()


def round_message(state: Mapping[str, np.ndarray], epochs: Sequence[Samples], peak_rate: float, steps: int) -> bytes:
    """Return what a follower needs of a round that begins after `steps` steps, as the bytes of an .npz file."""
    facts = {"peak_rate": peak_rate, "steps": steps}
    columns = {f"samples_{name}": np.stack([getattr(epoch, name) for epoch in epochs]) for name in _COLUMNS}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, facts=np.array(json.dumps(facts)), **columns, **state)
    return stream.getvalue()


def follow(group: Group, manifest: Manifest, config: Config, stop: StopRequest) -> int:
    """Train along until process 0 ends it; returns its exit code. Signals are passed on to process 0.

    InputError where process 0 has another cache or other settings than this process.
    """
    from kidney_seg.processes import Ended

    try:
        with stop.noted_only():
            _train_along(group, manifest, config, stop)
    except Ended as ended:
        return ended.code


def _train_along(group: Group, manifest: Manifest, config: Config, stop: StopRequest) -> NoReturn:
    from kidney_seg.training import Progress, Trainer

    hello = json.loads(group.receive())
    _refuse_others(group, hello, manifest, config)
    patients = set(hello["patients"])
    entries = [entry for entry in manifest.entries if entry.patient in patients]
    trainer = Trainer(config, group)
    store = SliceStore(manifest, entries, config.data.memory_gb, config.model.input_slices)
    while True:
        with np.load(io.BytesIO(group.receive()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(str(arrays.pop("facts")))
        columns = {name: arrays.pop(f"samples_{name}") for name in _COLUMNS}
        count = len(columns["case"])
        epochs = [Samples(**{name: columns[name][epoch] for name in _COLUMNS}) for epoch in range(count)]
        trainer.set_state(arrays)
        with suppress(Stopped):  # process 0 saves, and ends
            trainer.fit_round(store, epochs, facts["peak_rate"], start=Progress(facts["steps"]), stop=stop)


def _refuse_others(group: Group, hello: dict, manifest: Manifest, config: Config) -> None:
    own = f"process {group.index}"
    if hello["data_sha256"] != manifest.data_sha256:
        raise InputError(f"{manifest.root}: {own} finds other data here than process 0; give all the same cache")
    if found := differences(Config.from_dict(hello["config"]), config):
        raise InputError(f"{own} has other settings than process 0 ({'; '.join(found)}); give all the same")
