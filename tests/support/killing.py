"""Kill a small training again and again, and see whether it ends as one that was left alone.

`python tests/support/killing.py CACHE FOLDER --kills 100` does it by hand; `test_survival.py` does it with fewer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from kidney_seg.config.run_config import Config
from kidney_seg.tensorflow_log import quiet_tensorflow

# The smallest network there is; and a checkpoint after every step, so that many kills meet one being written.
TINY = Config().with_settings(
    "size=32 width_factor=0.1 batch_norm_momentum=0.9 gates= multi_scale_input=false deep_supervision=false starts=1 "
    "start_steps=40 steps=40 max_rounds=1 patience=2 retries=0 batch_size=4 peak_rate=0.01 checkpoint_seconds=0".split()
)


# ways in which a file is damaged
DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "a bit flipped early": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a bit flipped late": lambda content: content[:-9] + bytes([content[-9] ^ 16]) + content[-8:],
    "a bit flipped inside": lambda content: (
        content[: len(content) // 3] + bytes([content[len(content) // 3] ^ 128]) + content[len(content) // 3 + 1 :]
    ),
}


def settings_of(config: Config) -> list[str]:
    """Return the settings that are not the defaults, as `--set` takes them."""
    default = Config().to_dict()
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for section, values in config.to_dict().items()
        for name, value in values.items()
        if value != default[section][name]
    ]


def live(cache: Path, run: Path, moment: tuple[int, float] | None = None, writing: bool = False) -> bool:
    """Train in a child process, killed at a moment: so many lines said, so many seconds later; whether it ended first.

    `writing`: killed while a checkpoint is half written, the first one that is seen after that moment.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        from kidney_seg.progressive.driver import train

        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        train(cache, run, TINY, seed=3, say=lambda line: os.write(writes, line.partition("\n")[0].encode() + b"\n"))
        os._exit(0)
    os.close(writes)
    os.set_blocking(reads, False)
    said, reached = b"\n", None
    with os.fdopen(reads, "rb", buffering=0) as lines:
        while True:
            said += lines.read() or b""
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                if status != 0:
                    raise SystemExit(f"the training ended by itself with status {status}")
                return True
            if moment and reached is None and said.count(b"\n") > moment[0]:
                reached = time.monotonic()
            late = moment and reached is not None and time.monotonic() - reached >= moment[1]
            if late and (not writing or _holds_half_a_checkpoint(child, run)):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                print(f"killed{' while it wrote' * writing} after: {said.decode().splitlines()[-1]}", flush=True)
                return False
            time.sleep(0.0005 if late else 0.01)


def _holds_half_a_checkpoint(child: int, run: Path) -> bool:
    """Hold the child if it seems to write one, and look again: by then, the file may have its name."""
    half_written = (run / "checkpoints").glob
    if not any(half_written(".tmp-*")):
        return False
    os.kill(child, signal.SIGSTOP)
    os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if any(half_written(".tmp-*")):
        return True
    os.kill(child, signal.SIGCONT)
    return False


def weights_of(run: Path) -> dict[str, str]:
    """Return the bits of the weights of every attempt, as hexadecimal digits, by the file's path in the run."""
    import h5py

    weights = {}
    for path in sorted((run / "rounds").glob("*/*.weights.h5")):
        with h5py.File(path) as file:
            found: list[bytes] = []
            file.visititems(
                lambda _, item, found=found: found.append(item[()].tobytes() if hasattr(item, "dtype") else b"")
            )
        weights[str(path.relative_to(run))] = b"".join(found).hex()
    return weights


def result(run: Path) -> dict:
    """Return what must be equal, bit for bit: the weights of every attempt, the history, and the scores."""
    events: list[dict] = []
    for line in map(json.loads, (run / "journal.jsonl").read_text().splitlines()):
        if line["event"] == "taken back":
            del events[line["to"] :]
        else:
            events.append(line)
    histories = [
        [{**row, "seconds": 0, "waited": 0} for row in event["history"]]
        for event in events
        if event["event"] == "attempt"
    ]
    scores = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    return {"weights": weights_of(run), "histories": histories, "cases": scores["cases"], "summary": scores["summary"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, help="cache of 32 x 32 slices with a split")
    parser.add_argument("folder", type=Path, help="new folder for the runs")
    parser.add_argument("--undisturbed", type=Path, help="a finished run on this cache, to compare with")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(np.random.SeedSequence().entropy % 10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    quiet_tensorflow()
    # the children of this process have them loaded
    for name in ("progressive.rounds", "progressive.final_scores", "evaluate.held_out", "report.page"):
        importlib.import_module(f"kidney_seg.{name}")
    undisturbed = arguments.undisturbed or arguments.folder / "undisturbed"
    if not arguments.undisturbed:
        live(arguments.cache, undisturbed)
    expected = result(undisturbed)
    kills, runs, half_written = 0, 0, 0
    while kills < arguments.kills:
        run, ended = arguments.folder / f"killed{runs}", False
        while not ended:
            # a run says some 16 lines, first how it begins, last what it scored; an epoch takes half a second
            moment = (chance.randrange(10), chance.random()) if kills < arguments.kills else None
            ended = live(arguments.cache, run, moment, writing=kills % 2 == 1)
            kills += not ended
            half_written += not ended and any(run.rglob(".tmp-*"))
        runs += 1
        if result(run) != expected:
            sys.exit(f"{run}: differs from the undisturbed run (seed {arguments.seed})")
        if list(run.rglob(".tmp-*")):
            sys.exit(f"{run}: holds half-written files at the end")
    print(
        f"{kills} kills over {runs} runs, {half_written} while a file was written; every run ended with the same bits"
    )


if __name__ == "__main__":
    main()
