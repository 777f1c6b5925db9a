"""Download cases of a KiTS data set, each file resumed, verified and recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from data_prep.download import transfer
from data_prep.download.records import Known, Records
from data_prep.download.sources import MEGABYTES_PER_CASE, REPOSITORY, SOURCES, Source
from data_prep.download.transfer import Refused, Retry
from data_prep.errors import NO_ROOM, InputError
from data_prep.files.atomic import write_file
from data_prep.files.checksums import sha256_of
from data_prep.files.locks import locked
from data_prep.files.outputs import check_folder
from data_prep.formats.nifti import open_nifti
from data_prep.geometry.types import triple
from data_prep.parallel.tasks import check_jobs

VERSIONS = 3  # of a file that fail their verification, before it is given up


class Bar(Protocol):
    """Shows the progress: bytes received, and files done."""

    def received(self, count: int) -> None:
        """Add bytes; negative if some are dropped."""

    def done(self, failed: bool) -> None:
        """Add a file."""


class _Silent:
    def received(self, count: int) -> None:
        pass

    def done(self, failed: bool) -> None:
        pass


@dataclass
class Outcome:
    """What a download did. made: files written now; kept: those that were there; missing: a line for each problem."""

    source: Source
    made: int = 0
    kept: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    name: str  # below the folder
    addresses: tuple[str, ...]


def download_kits(
    dataset: str,
    out: str | Path,
    cases: Sequence[int] | None = None,
    *,
    accept_license: bool = False,
    mirror: str | None = None,
    jobs: int = 4,
    retry: Retry | None = None,
    bar: Bar | None = None,
) -> Outcome:
    """Download images and labels into `out/case_NNNNN/`; what is there and verified is kept.

    Every file is read to its end before it gets its name: length, gzip's checksum, the header, and labels of the size
    of their image. A file that is no whole image is never replaced: it is named among the missing.

    Args:
        dataset: `kits19`, `kits21` or `kits23`.
        out: the folder.
        cases: numbers of cases; None: all.
        accept_license: needed once for a folder.
        mirror: address of another folder of this form (`https://`, `http://` or `file://`).
        jobs: files at a time.

    Raises:
        InputError: another data set or a foreign file is in `out`, or the license was not accepted (code `license`), or
            the disk is too small (code `disk_space`).
        OSError: the disk is full or refuses.
    """
    check_jobs(jobs)
    if dataset not in SOURCES:
        raise InputError(f"data set {dataset!r}; expected one of {', '.join(SOURCES)}")
    source, out, retry, bar = SOURCES[dataset], Path(out), retry or Retry(), bar or _Silent()
    numbers = list(source.cases if cases is None else cases)
    check_folder(out)
    records = Records(out, source)
    if not (accept_license or records.accepted):
        raise InputError(f"{source.license.strip()} To accept this, add --accept-license", code="license")
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "wait until it has ended"):
        outcome = Outcome(source)
        tasks = _tasks(source, numbers, mirror)
        absent = [task for task in tasks if not (out / task.name).exists()]
        if not mirror:
            _refuse_small_disk(out, {task.name.partition("/")[0] for task in absent})
        records.accept()
        _metadata(source, out, mirror, retry)
        with _stopping(ThreadPoolExecutor(jobs), retry) as pool:
            waiting = {pool.submit(_bring, task, records, retry, bar): task for task in tasks}
            for future in as_completed(waiting):
                _note(future, waiting[future], outcome, bar)
        outcome.missing += _unlike(records, source, numbers)
        outcome.missing.sort()
        return outcome


def _tasks(source: Source, numbers: Sequence[int], mirror: str | None) -> list[_Task]:
    return [
        _Task(f"case_{number:05d}/{name}", addresses)
        for number in numbers
        for name, addresses in source.files(number, mirror).items()
    ]


def _bring(task: _Task, records: Records, retry: Retry, bar: Bar) -> bool:
    """Bring one file; True if it was made now. Refused with the reason if it cannot be had."""
    path = records.folder / task.name
    known = records.files.get(task.name)
    if os.path.lexists(path):
        if known is None or not path.exists() or known.bytes != path.stat().st_size:
            try:
                records.add(task.name, _whole(path, ""))
            except (InputError, FileNotFoundError) as error:
                why = _few_words(error) if isinstance(error, InputError) else "is a link to nothing"
                raise Refused(f"is here, but {why}; remove it and run this again") from None
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    reasons = []
    for address in task.addresses:
        for _ in range(VERSIONS):
            try:
                transfer.fetch(address, part, retry, bar.received)
                made = _whole(part, address)
            except Refused as error:
                reasons.append(str(error))
                break
            except InputError as error:
                transfer.forget(part, bar.received)
                reasons.append(f"what the server sends is no whole image ({_few_words(error)})")
                continue
            part.replace(path)
            transfer.forget(part)
            records.add(task.name, made)
            return True
    raise Refused("; ".join(dict.fromkeys(reasons)))


def _whole(path: Path, address: str) -> Known:
    """Read a `.nii.gz` file to its end: header, number of voxels, gzip's checksum. InputError if it is not whole."""
    source = open_nifti(path)
    for _ in source.slabs():
        pass
    return Known(path.stat().st_size, sha256_of(path), triple(source.grid.size), address)


def _few_words(error: InputError) -> str:
    return error.detail.partition(";")[0]


def _note(future: Future[bool], task: _Task, outcome: Outcome, bar: Bar) -> None:
    try:
        made = future.result()
    except Refused as error:
        outcome.missing.append(f"{task.name}: {error}")
        bar.done(True)
        return
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        outcome.missing.append(f"{task.name}: {error.strerror}")
        bar.done(True)
        return
    outcome.made, outcome.kept = outcome.made + made, outcome.kept + (not made)
    bar.done(False)


def _unlike(records: Records, source: Source, numbers: Sequence[int]) -> list[str]:
    lines = []
    for number in numbers:
        case = f"case_{number:05d}"
        image, labels = (records.files.get(f"{case}/{name}") for name in ("imaging.nii.gz", source.label_file))
        if image and labels and image.voxels != labels.voxels:
            sizes = " and ".join(" x ".join(map(str, known.voxels)) for known in (image, labels))
            lines.append(f"{case}: image and labels have {sizes} voxels; remove both and run this again")
    return lines


def _metadata(source: Source, out: Path, mirror: str | None, retry: Retry) -> None:
    """Bring the table of patients, which splits and tables of results can use; it may be missing."""
    if source.metadata is None or (out / source.metadata[1]).exists():
        return
    place, name = source.metadata
    address = f"{mirror.rstrip('/')}/{name}" if mirror else place.format(repository=REPOSITORY, commit=source.commit)
    part = out / f".part-{name}"
    try:
        transfer.fetch(address, part, Retry(min(retry.tries, 3), retry.pause_s, retry.stop))
        write_file(out / name, part.read_bytes())
    except Refused:
        pass
    transfer.forget(part)


def _refuse_small_disk(out: Path, absent: set[str]) -> None:
    needed, free = len(absent) * MEGABYTES_PER_CASE * 10**6, shutil.disk_usage(out).free
    if needed > free:
        detail = f"{len(absent)} cases need about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
        raise InputError(f"{detail}; free some space, or choose fewer by --cases", out, "disk_space")


@contextmanager
def _stopping(pool: ThreadPoolExecutor, retry: Retry) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool whose work stops soon after an exception, such as Ctrl-C; what was received stays."""
    try:
        yield pool
    except BaseException:
        retry.stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
