"""A process that follows: it trains its share of every round that process 0 plays, and writes nothing."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from data_prep.cache.manifest import Manifest
from data_prep.errors import InputError
from kidney_seg.config.run_config import Config, differences
from kidney_seg.pipeline.sampling import Samples
from kidney_seg.pipeline.slice_store import SliceStore
from kidney_seg.training.stop_request import Stopped, StopRequest

if TYPE_CHECKING:
    from kidney_seg.training.process_group import Group
from kidney_seg.training.messages import COLUMNS


def follow(group: Group, manifest: Manifest, config: Config, stop: StopRequest) -> int:
    """Train along until process 0 ends it; returns its exit code. Signals are passed on to process 0.

    InputError where process 0 has another cache or other settings than this process.
    """
    from kidney_seg.training.process_group import Ended

    try:
        with stop.noted_only():
            _train_along(group, manifest, config, stop)
    except Ended as ended:
        return ended.code


def _train_along(group: Group, manifest: Manifest, config: Config, stop: StopRequest) -> NoReturn:
    from kidney_seg.training.progress import Progress
    from kidney_seg.training.trainer import Trainer

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
        columns = {name: arrays.pop(f"samples_{name}") for name in COLUMNS}
        count = len(columns["case"])
        epochs = [Samples(**{name: columns[name][epoch] for name in COLUMNS}) for epoch in range(count)]
        trainer.set_state(arrays)
        with suppress(Stopped):  # process 0 saves, and ends
            trainer.fit_round(store, epochs, facts["peak_rate"], start=Progress(facts["steps"]), stop=stop)


def _refuse_others(group: Group, hello: dict, manifest: Manifest, config: Config) -> None:
    own = f"process {group.index}"
    if hello["data_sha256"] != manifest.data_sha256:
        raise InputError(f"{manifest.root}: {own} finds other data here than process 0; give all the same cache")
    if found := differences(Config.from_dict(hello["config"]), config):
        raise InputError(f"{own} has other settings than process 0 ({'; '.join(found)}); give all the same")
