"""Progressive training (paper, Figure 2): `python -m kidney_seg.progressive`.

Rounds of `fit()` on randomly drawn training patients, each warm-started from the weights before and judged on whole
volumes of patients kept for that, until nothing improves; then the test patients are scored, once. With no argument it
makes simulated patients and trains the demo on them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from kidney_seg.config.run_config import Config
from kidney_seg.tensorflow_log import quiet_tensorflow

if TYPE_CHECKING:
    from data_prep.cache.manifest import Manifest
    from kidney_seg.training.process_group import ProcessGroup


def train(
    data: str | Path,
    out: str | Path,
    config: Config,
    seed: int = 0,
    say: Callable[[str], None] = print,
    split_file: str | Path | None = None,
    group: ProcessGroup | None = None,
    pretrained: str | Path | None = None,
) -> dict:
    """Train on a cache folder with a split into the run folder `out`, going on where it stopped; score the test set.

    Ends with `out/report.html`; returns the content of `out/evaluation/test/scores.json`. `split_file`: another split
    than the cache's `split.json`, such as one of its folds. `say` gets one line for each step of progress. `group`:
    processes that train along (`training.process_group.join`), which this one leads. `pretrained`: a run folder or
    `.keras` file with whose weights every start of round 0 begins; the run keeps a copy (`progressive.pretrained`).
    InputError if the data, the split, the settings, that model and what the run folder holds do not fit together;
    `interrupt.Stopped` after Ctrl-C or SIGTERM, when the current batch is done and saved.
    """
    from data_prep.files.checksums import sha256_of
    from data_prep.split.sets import SPLIT, read_split
    from kidney_seg.progressive.pretrained import find_pretrained, warning

    manifest = read_data(data, config)
    split_file = Path(split_file or manifest.root / SPLIT)
    split = read_split(split_file, manifest)
    first = find_pretrained(pretrained, config.model, out) if pretrained is not None else None
    if first is not None and (line := warning(first, split["test"])):
        say(line)

    # TensorFlow loads here, when all that needs no network is known to be right.
    quiet_tensorflow()
    from kidney_seg.evaluate.held_out import held_out_cases
    from kidney_seg.progressive.rounds import Rounds
    from kidney_seg.progressive.test_set import score_test
    from kidney_seg.run.folder import RunFolder
    from kidney_seg.training.stop_request import stop_request

    cases = held_out_cases(manifest, split)
    identity: dict[str, Any] = {
        "seed": seed,
        "data": str(Path(data).resolve()),
        "data_sha256": manifest.data_sha256,
        "split": str(split_file.resolve()),
        "split_sha256": sha256_of(split_file),
        **(first.identity() if first else {}),
    }
    run = RunFolder(out, config, identity)
    try:
        if run.find("tested"):
            say(f"{out}: this run is finished, nothing is trained (another --out or --seed trains anew)")
        else:
            weights = first.keep(run.root) if first else None
            with stop_request() as stop:
                Rounds(run, manifest, split, config, seed, say, stop, group, weights).play()
        scores = score_test(run, cases, config, say)
    finally:
        run.close()
    _report(out, say)
    return scores


def _report(run: str | Path, say: Callable[[str], None]) -> None:
    """Write the run's report; where that fails, say why in one line: the run itself is done and whole."""
    from kidney_seg.report.writer import write_report

    try:
        say(str(write_report(run)))
    except Exception as error:  # whatever it is, it must not cost a run that is finished
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"no report ({reason}); try python -m kidney_seg.report {run}")


def read_data(data: str | Path, config: Config) -> Manifest:
    from data_prep.cache.manifest import read_manifest

    manifest = read_manifest(data)
    if manifest.settings.size != config.model.size:
        raise InputError(
            f"{data}: its slices have {manifest.settings.size} pixels a side, the setting size is {config.model.size}; "
            f"give --set size={manifest.settings.size}, or build a cache with --size {config.model.size}"
        )
    return manifest
