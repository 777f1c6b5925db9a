"""What several test modules make or ask for."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_prep.build.builder import build
from data_prep.cache import case_file
from data_prep.cache import manifest as cache
from data_prep.geometry.network_grid import GridSettings
from data_prep.parallel.tasks import WorkerDied
from data_prep.phantom.cohort import write_cohort
from data_prep.split.sets import make_split, write_split

# Where the two largest probabilities are closer than this, rounding may decide (docs/explanation/reproducibility.md).
# Measured with Keras, the served graph and ONNX Runtime under all settings of `make test-processors`: labels differed
# only where the two were within 1.2e-7, and probabilities by up to 2e-6.
NEAR_TIE = 1e-5

# settings of the network with the fewest layers: TensorFlow takes a fifth of the time to trace its training
SMALLEST = ("gates=", "multi_scale_input=false", "deep_supervision=false")

KITS_AFFINE = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = KITS_AFFINE) -> Path:
    """Write a NIfTI file by another library than the project's own."""
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def assert_same_labels(found: np.ndarray, expected: np.ndarray, probabilities: np.ndarray) -> None:
    """Compare labels by two graphs, engines, batch sizes or processors: equal, but where two classes are as probable.

    found, expected: uint8 of any shape; probabilities: [..., classes], what either of the two says. Where the labels
    differ, both must be within NEAR_TIE of the most probable. One pixel of a hundred may be so near; if more are,
    nothing is compared. What the same program says twice on one machine is compared to the bit instead.
    """
    assert found.dtype == expected.dtype and found.shape == expected.shape == probabilities.shape[:-1]
    most = np.sort(probabilities, axis=-1)
    assert np.mean(most[..., -1] - most[..., -2] < NEAR_TIE) <= 0.01
    differ = found != expected
    for labels in (found, expected):
        behind = (
            most[differ][..., -1] - np.take_along_axis(probabilities[differ], labels[differ][..., None], -1)[..., 0]
        )
        assert (behind < NEAR_TIE).all(), (
            f"{(behind >= NEAR_TIE).sum()} of {found.size} differ, by up to {behind.max()}"
        )


def three_classes(answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the probabilities [..., 3] of which a served model gives the last two."""
    kidney, tumor = answers["kidney_probability"], answers["tumor_probability"]
    return np.stack([1 - kidney - tumor, kidney, tumor], axis=-1)


def one_line(caught: pytest.ExceptionInfo) -> str:
    """Return the text of a caught error, which must be one line."""
    text = str(caught.value)
    assert "\n" not in text
    return text


def write_cache(root: Path, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> cache.Manifest:
    """Write a cache of (image, label) network slices by case name, a patient a case, with voxels of 1 mm."""
    entries = []
    for name, (image, label) in cases.items():
        entries.append(
            cache.CacheEntry(
                case=name,
                patient=name,
                file=f"{name}.h5",
                sha256=case_file.write_case(root / f"{name}.h5", image, label, {"case": name}),
                slices=len(image),
                labelled=True,
                pixel_mm=1.0,
                spacing_mm=(1.0, 1.0, 1.0),
                shape_zyx=image.shape,
                image_path=f"{name}/imaging.nii.gz",
                label_path=f"{name}/segmentation.nii.gz",
                image_sha256=name,
                label_sha256=name,
                kidney_ml=float((label > 0).sum() / 1000),
                tumor_ml=float((label == 2).sum() / 1000),
                pixels=tuple(map(tuple, case_file.count_pixels(label).tolist())),
            )
        )
    return cache.write_manifest(root, GridSettings(image.shape[-1]), entries)


def noise_cases(root: Path, count: int) -> Path:
    """Write `count` small cases of random voxels, with labels, to be built; returns `root`."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"case_{number:05d}"
        folder.mkdir(parents=True)
        save(folder / "imaging.nii.gz", rng.integers(-1000, 1000, (6, 32, 32)).astype(np.int16))
        save(folder / "segmentation.nii.gz", rng.integers(0, 3, (6, 32, 32)).astype(np.uint8))
    return root


def content_of(cache_dir: Path) -> dict[str, bytes]:
    """Return the bytes of a cache's files, save for locks, which hold process numbers, and what shards note."""
    return {
        path.name: path.read_bytes() for path in cache_dir.iterdir() if not path.name.startswith((".lock", ".shards"))
    }


def simulated_cache(root: Path) -> Path:
    """Simulate eight patients in `root/patients`; build and split their cache of 32 x 32 pixels, which is returned."""
    write_cohort(root / "patients", cases=8, size=32, slices=8)
    manifest = build(root / "patients", root / "cache", GridSettings(32)).manifest
    write_split(manifest, make_split(manifest, (0.5, 0.25, 0.25)))
    return root / "cache"


@contextmanager
def second_worker_died(
    function: Callable, tasks: Sequence, *, jobs: int = 1, scheduler: str | None = None, what: str | None = None
) -> Iterator[Iterator[tuple[int, object]]]:
    """Stand in for `parallel.tasks.run`: the second task's worker died, the others are done in this process."""
    died = WorkerDied("its task failed (KilledWorker: 4 times); run again")
    yield ((index, died if index == 1 else function(task)) for index, task in enumerate(tasks))


def on_a_cluster_that_loses_a_worker(
    command: Sequence[str], made: Callable[[], int], wait_for: int, total: int
) -> tuple[int, str]:
    """Run `python -m COMMAND --scheduler ...` on a Dask cluster of two workers and kill one of them in the middle.

    That is when `made()` is `wait_for` or more; it must be below `total` then: the other worker is held until then with
    the tasks that it got, so that not all can be done, however fast they are. Returns exit code and standard error.
    """
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra `scale`)")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        whole = [sys.executable, "-m", *command, "--scheduler", cluster.scheduler_address]
        os.kill(pids[1], signal.SIGSTOP)
        try:
            process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            deadline = time.monotonic() + 600
            while made() < wait_for:
                assert process.poll() is None and time.monotonic() < deadline, process.communicate()
                time.sleep(0.002)
            os.kill(pids[0], signal.SIGKILL)
            assert made() < total  # in the middle, indeed
        finally:
            os.kill(pids[1], signal.SIGCONT)
        _, said = process.communicate(timeout=600)
    return process.returncode, said


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def peak_mb() -> int:
    """Return the largest memory of this process so far, in MB; without that of the process that started it.

    `ru_maxrss` counts that one, too, where a process is started by fork and exec.
    """
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10
