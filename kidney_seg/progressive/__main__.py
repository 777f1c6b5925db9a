"""Command line of `python -m kidney_seg.progressive`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.cli import command
from data_prep.errors import InputError
from kidney_seg.config.presets import PRESETS
from kidney_seg.config.run_config import Config, explanations
from kidney_seg.config.set_option import add_set_option
from kidney_seg.config.settings_file import read_settings
from kidney_seg.hardware import add_device_option, use_device
from kidney_seg.progressive.demo_data import make_demo_data
from kidney_seg.progressive.driver import read_data, train
from kidney_seg.run.recipe import check_recipe, read_recipe
from kidney_seg.tensorflow_log import quiet_tensorflow
from kidney_seg.training.launch import add_options, check_alone, train_together
from kidney_seg.training.loggers import LOGGERS
from kidney_seg.training.stop_request import Stopped

if TYPE_CHECKING:
    from kidney_seg.training.process_group import ProcessGroup

LARGEST_SEED = 4_000_000  # a thousand starts per seed, in the 32 bits that seed a network


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m kidney_seg.progressive",
        description="Train in rounds and score the test patients. Without --data, simulate patients and train the demo "
        "on them (about two and a half minutes on two cores). The same command resumes a stopped run. Exit code: 0; 1 "
        "if the training failed (its last lines say how, and what to do); 2 for bad input.",
        epilog="example: python -m kidney_seg.progressive --data cache --out run --set steps=500",
    )
    parser.add_argument("--data", metavar="CACHE", help="cache folder with split.json (default: simulated patients)")
    parser.add_argument(
        "--split", metavar="FILE", help="another split, such as CACHE/folds/fold0.json (default: CACHE/split.json)"
    )
    parser.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET, with the seed if not 0)")
    parser.add_argument("--preset", choices=PRESETS, help="settings (default: demo without --data, else paper)")
    words = "settings over the preset, from JSON or YAML, such as the config.json of a run; --set is stronger"
    parser.add_argument("--config", metavar="FILE", help=words)
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="random seed of initial weights, draws of patients and augmentation (default: %(default)s)",
    )
    add_set_option(parser, "settings, such as steps=500 alpha=0.6")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="train N runs with the seeds S, S+1, ..., in RUN/seed<S>"
    )
    parser.add_argument(
        "--reproduce", metavar="MANIFEST", help="repeat a run from its manifest.json: same settings, seed and data"
    )
    parser.add_argument(
        "--pretrained",
        metavar="MODEL",
        help="run folder or .keras file with the initial weights, of a network with the same settings",
    )
    words = "where curves and pictures are logged, in the run folder (default: %(default)s; the others: extras)"
    parser.add_argument("--logger", choices=LOGGERS, default=LOGGERS[0], help=words)
    add_device_option(parser)
    add_options(parser)
    parser.add_argument(
        "--show-settings",
        action="store_true",
        help="print all settings that would be used, with their meaning and source, and exit",
    )
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.coordinator:
        if arguments.device:
            raise InputError(f"--device {arguments.device}: is for one process; omit it or --coordinator")
        check_alone(arguments)
    if arguments.reproduce:
        return _reproduce(arguments)
    preset = arguments.preset or ("paper" if arguments.data else "demo")
    config = PRESETS[preset]
    if arguments.config:
        config = read_settings(arguments.config, config)
    config = config.with_settings(arguments.set)
    if arguments.show_settings:
        why = "" if arguments.preset else f" (the default {'with' if arguments.data else 'without'} --data)"
        return _show(config, f"preset {preset}{why}")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise InputError(f"--seeds {arguments.seeds}: expected 1 or more")
    last = arguments.seed + (arguments.seeds or 1) - 1
    if not 0 <= arguments.seed <= last <= LARGEST_SEED:
        raise InputError(f"--seed {arguments.seed}: expected 0 to {LARGEST_SEED}")
    out = Path(arguments.out or Path("runs") / (f"{preset}-seed{arguments.seed}" if arguments.seed else preset))
    given = {"split_file": arguments.split, "pretrained": arguments.pretrained}
    given |= {"logger": arguments.logger, "device": arguments.device}
    if arguments.coordinator:
        manifest = read_data(arguments.data, config)
        quiet_tensorflow()

        def lead(group: ProcessGroup) -> int:
            _log(f"{group.count} processes train together")
            return _train(arguments.data, out, config, arguments.seed, **given, group=group)

        return train_together(arguments, manifest, config, lead)
    data = arguments.data or make_demo_data(config.model.size, _log)
    if not arguments.seeds:
        return _train(data, out, config, arguments.seed, **given)
    runs = {seed: out / f"seed{seed}" for seed in range(arguments.seed, last + 1)}
    codes = []
    for seed, run in runs.items():
        _log(f"seed {seed}: {run}")
        codes.append(_train(data, run, config, seed, **given))
        if codes[-1] > 1:  # stopped
            return codes[-1]
    from kidney_seg.compare import compare, format_arms

    _log("\nDice of the test patients, post-processed, over all seeds")
    _log(format_arms(compare(list(runs.values()))))
    return max(codes)


def _log(line: str) -> None:
    """Print a line above the bar, if there is one; in a log file, lines of progress begin with the time."""
    from tqdm import tqdm

    if not sys.stdout.isatty() and line.startswith(("round ", "training ends")):
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}"
    tqdm.write(line)
    sys.stdout.flush()


def _show(config: Config, base: str) -> int:
    """Print the settings, with a mark where they differ from the preset `paper`."""
    texts, paper = explanations(), PRESETS["paper"].to_dict()
    print(f"{base}; * differs from the preset paper")
    for section, values in config.to_dict().items():
        for name, value in values.items():
            own, theirs = (
                ",".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in one)
                if isinstance(one, list)
                else str(one)
                for one in (value, paper[section][name])
            )
            mark, was = ("*", f" (paper: {theirs})") if own != theirs else (" ", "")
            print(f"{mark} {section + '.' + name:30}{own:28}{texts[name]}{was}")
    return 0


def _train(data: str | Path, out: Path, config: Config, seed: int, **given: Any) -> int:
    """Train, with further arguments of `train`, and return the command's exit code."""
    try:
        scores = train(data, out, config, seed, _log, **given)
    except Stopped as stopped:
        print(f"{stopped}: run the same command again to resume", file=sys.stderr)
        return stopped.exit_code
    return int(bool(scores["best"]["trouble"] or scores.get("failed")))


def _reproduce(arguments: argparse.Namespace) -> int:
    """Repeat a run into a new folder, after a check of data, split and versions."""
    if (
        arguments.set
        or arguments.config
        or arguments.preset
        or arguments.seeds
        or arguments.seed
        or arguments.pretrained
    ):
        raise InputError(
            "--reproduce: settings, seed and initial weights are those of the repeated run; add only --data, --split "
            "and --out"
        )
    from data_prep.cache.manifest import read_manifest
    from data_prep.files.checksums import sha256_of

    recipe = read_recipe(arguments.reproduce)
    pretrained = recipe.pretrained()
    data = Path(arguments.data or recipe.data)
    manifest = read_manifest(data)
    split_file = Path(arguments.split) if arguments.split else recipe.split_file(manifest.root)
    use_device(arguments.device)
    quiet_tensorflow()
    from kidney_seg.run.environment import environment

    now = environment()
    versions = {**now["versions"], "python": now["python"], "devices": ", ".join(now["devices"])}
    differing = check_recipe(recipe, manifest.data_sha256, sha256_of(split_file), versions)
    for line in differing:
        _log(f"differs: {line}")
    same = "versions, data and split are those of the repeated run"
    _log("with these differences the results may differ" if differing else same)
    out = Path(arguments.out or Path("runs") / "reproduced")
    return _train(
        data,
        out,
        recipe.config,
        recipe.seed,
        split_file=split_file,
        pretrained=pretrained,
        logger=arguments.logger,
        device=arguments.device,
    )


if __name__ == "__main__":
    sys.exit(main())
