"""Progressive training as a whole: data, rounds, scores of the test set, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.names import printable
from kidney_seg.config.run_config import Config
from kidney_seg.hardware import start_line, use_device
from kidney_seg.tensorflow_log import quiet_tensorflow

if TYPE_CHECKING:
    from data_prep.cache.manifest import Manifest
    from kidney_seg.training.process_group import ProcessGroup


def train(
    data: str | Path,
    out: str | Path,
    config: Config,
    seed: int = 0,
    log: Callable[[str], None] = print,
    split_file: str | Path | None = None,
    group: ProcessGroup | None = None,
    pretrained: str | Path | None = None,
    *,
    logger: str = "tensorboard",
    device: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict:
    """Train on a cache folder into the run folder `out`, or resume; score the test set and write `report.html`.

    Args:
        log: gets one line per step of progress; `say` is its former name.
        split_file: another split than the cache's `split.json`, such as a fold.
        group: the processes that train together, led by this one.
        logger: where curves and pictures are logged: `tensorboard`, `mlflow` or `wandb` (the latter two by extras).
        pretrained: run folder or `.keras` file whose weights initialize every start of round 0; the run keeps a copy.
        device: `cpu`, `gpu` or `gpu:N`, see `kidney_seg.hardware.use_device`; None for all GPUs that there are.

    Returns the content of `evaluation/test/scores.json`; `failed` there says why a training failed. InputError if the
    arguments and the content of the run folder do not fit together; `stop_request.Stopped` after Ctrl-C or SIGTERM,
    with the current batch done and saved.
    """
    from data_prep.cache.manifest import mean_ceiling
    from data_prep.files.checksums import sha256_of
    from data_prep.files.outputs import check_folder
    from data_prep.split.sets import SPLIT, read_split
    from kidney_seg.progressive.pretrained import find_pretrained, warning
    from kidney_seg.progressive.verdict import find_failure, find_unjudged
    from kidney_seg.training.loggers import check_logger

    log = say or log
    check_folder(out)
    check_logger(logger)
    manifest = read_data(data, config)
    split_file = Path(split_file or manifest.root / SPLIT)
    split = read_split(split_file, manifest)
    check_sets(manifest, split, ("train", config.rounds.stop_on), split_file)
    first = find_pretrained(pretrained, config.model, out) if pretrained is not None else None
    if first is not None and (line := warning(first, split["test"])):
        log(line)
    origin = replace(manifest.cohort, first_weights=first.trained_on if first else "")
    log(f"data: {manifest.cohort}" + (f"; first weights: {first.trained_on}" if first else ""))
    if unjudged := find_unjudged(manifest, split, config.rounds.stop_on):
        log(f"warning: {unjudged}: rounds are chosen by the kidney alone")

    # TensorFlow loads here, after all checks that do not need it.
    use_device(device)
    quiet_tensorflow()
    patients = f"trained now on {len(split['train'])} patients of {printable(manifest.root.absolute().name)}"
    log(start_line(engine="keras", precision=config.model.precision, model=patients, device=device))
    from kidney_seg.evaluate.held_out import held_out_cases
    from kidney_seg.progressive.final_scores import score_test
    from kidney_seg.progressive.observer import RoundObserver
    from kidney_seg.progressive.rounds import Rounds, RunContext
    from kidney_seg.run.folder import RunFolder
    from kidney_seg.run.journal import RunStatus
    from kidney_seg.training.stop_request import stop_request

    cases = held_out_cases(manifest, split)
    identity: dict[str, Any] = {
        "seed": seed,
        "data": str(Path(data).resolve()),
        "data_sha256": manifest.data_sha256,
        "split": str(split_file.resolve()),
        "split_sha256": sha256_of(split_file),
        **(first.identity() if first else {}),
        "origin": asdict(origin),
    }
    run = RunFolder(out, config, identity)
    try:
        if run.journal.status is RunStatus.FINISHED:
            log(f"{out}: this run is finished, nothing is trained (use another --out or --seed for a new run)")
        else:
            if first:
                first.keep(run.root)
            with stop_request() as stop:
                context = RunContext(run, config, seed, split, manifest, stop, group, origin)
                slices = _slices(manifest, split[config.rounds.stop_on]), _slices(manifest, split["test"])
                Rounds(context, RoundObserver(run, config, log, slices, logger)).play()
        failure = find_failure(run.journal, config, unjudged)
        ceiling = mean_ceiling(entry for entry in manifest.entries if entry.patient in split["test"])
        facts: dict[str, Any] = {"origin": asdict(origin), "cohort": asdict(manifest.cohort), "ceiling": ceiling}
        facts["failed"] = failure.happened if failure else None
        scores = score_test(run, cases, config, log, facts)
    finally:
        run.close()
    _report(out, log)
    for line in failure.lines() if failure else ():
        log(line)
    return scores


def _slices(manifest: Manifest, patients: Sequence[str]) -> int:
    chosen = set(patients)
    return sum(entry.slices for entry in manifest.entries if entry.labelled and entry.patient in chosen)


def _report(run: str | Path, log: Callable[[str], None]) -> None:
    """Write the run's report, or log why it fails in one line: the run itself is finished."""
    from kidney_seg.report.writer import write_report

    try:
        log(str(write_report(run)))
    except Exception as error:  # no error may cost a finished run
        reason = " ".join(str(error).split()) or type(error).__name__
        log(f"no report ({reason}); try python -m kidney_seg.report {run}")


def check_sets(manifest: Manifest, split: Mapping[str, Sequence[str]], names: Sequence[str], path: Path) -> None:
    """Raise InputError if a set has no labeled kidney or tumor: nothing could be learned, or no round be judged."""
    for name in dict.fromkeys(names):
        pixels = [row for entry in manifest.entries if entry.patient in split[name] for row in entry.pixels or ()]
        if not any(sum(row[1:]) for row in pixels):
            detail = f"no patient of the {name} set has a labeled kidney or tumor ({len(split[name])} patients)"
            remedy = "expected at least one; split again with python -m data_prep.split, or check the labels"
            raise InputError(f"{detail}; {remedy}", path=path)


def read_data(data: str | Path, config: Config) -> Manifest:
    """Return the manifest of a cache. InputError if its slices have another size than the network."""
    from data_prep.cache.manifest import read_manifest

    manifest = read_manifest(data)
    size = manifest.settings.size
    if size != config.model.size:
        raise InputError(
            f"its slices are {size} pixels wide, the setting size is {config.model.size}; "
            f"give --set size={size}, or build a cache with --size {config.model.size}",
            path=data,
        )
    return manifest
