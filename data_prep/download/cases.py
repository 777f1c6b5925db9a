"""Download cases of a KiTS data set, each file resumed, verified and recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from data_prep.download import transfer
from data_prep.download.answers import Refused
from data_prep.download.mirrors import Mirror, open_mirror
from data_prep.download.records import CHECKSUMS, Known, Records
from data_prep.download.room import refuse_small_disk
from data_prep.download.sources import SOURCES, Source
from data_prep.download.transfer import Retry
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
    listed: Known | None  # in a table of checksums: what the file must be
    labels_commit: str


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

    Every file is read to its end before it gets its name: length, gzip's checksum, the header, and the SHA-256 where a
    table (`checksums.json` here or of the mirror) or the server names it. Labels must have the size of their image. A
    file that is no whole image is never replaced: it is named among the missing.

    Args:
        dataset: `kits19`, `kits21` or `kits23`.
        out: the folder.
        cases: numbers of cases; None: all.
        accept_license: needed once for a folder.
        mirror: address of another folder of this form (`https://`, `http://` or `file://`).
        jobs: files at a time.

    Raises:
        InputError: another data set or a foreign file is in `out`, the license was not accepted (code `license`), the
            disk is too small (code `disk_space`), or the mirror is none.
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
    other = open_mirror(mirror, source, retry) if mirror is not None else None
    tasks = _tasks(source, numbers, other, records)
    refuse_small_disk(out, [task.name for task in tasks], other)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "wait until it has ended"):
        outcome = Outcome(source)
        records.accept()
        _bring_extras(source, out, mirror, retry)
        with _stopping(ThreadPoolExecutor(jobs), retry) as pool:
            waiting = {pool.submit(_bring, task, records, retry, bar): task for task in tasks}
            for future in as_completed(waiting):
                _note(future, waiting[future], outcome, bar)
        for number in numbers:
            with suppress(OSError):  # of a case of which something is here, to use or to resume
                (out / f"case_{number:05d}").rmdir()
        outcome.missing += _unlike(records, source, numbers)
        outcome.missing.sort()
        return outcome


def _tasks(source: Source, numbers: Sequence[int], mirror: Mirror | None, records: Records) -> list[_Task]:
    tasks = []
    for number in numbers:
        for file, addresses in source.files(number, mirror.address if mirror else None).items():
            name = f"case_{number:05d}/{file}"
            there = mirror.files.get(name) if mirror else None
            commit = there.labels_commit if there else "" if mirror else source.commit
            commit = commit if file == source.label_file else ""
            tasks.append(_Task(name, addresses, records.files.get(name) or there, commit))
    return tasks


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
                announced = transfer.fetch(address, part, retry, bar.received)
                made = replace(_whole(part, address), labels_commit=task.labels_commit)
                if announced and made.sha256 != announced:
                    raise InputError("its SHA-256 is not the one that the server names")
            except Refused as error:
                reasons.append(str(error))
                break
            except InputError as error:
                transfer.forget(part, bar.received)
                reasons.append(f"what the server sends is no whole image ({_few_words(error)})")
                continue
            if task.listed and made.sha256 != task.listed.sha256:
                transfer.forget(part, bar.received)
                reasons.append(_other_sha256(made, task.listed))
                break
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


def _other_sha256(made: Known, listed: Known) -> str:
    return (
        f"another version than {CHECKSUMS} lists (SHA-256 {made.sha256[:12]}, expected {listed.sha256[:12]}); "
        "to take it, remove its entry there"
    )


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
            records.drop(f"{case}/imaging.nii.gz", f"{case}/{source.label_file}")
    return lines


def _bring_extras(source: Source, out: Path, mirror: str | None, retry: Retry) -> None:
    """Bring the table of patients, for splits and tables of results, and the labels' changelog; both may be missing."""
    for name, address in source.extra_files(mirror).items():
        if os.path.lexists(out / name):
            continue
        part = out / f".part-{name}"
        try:
            transfer.fetch(address, part, Retry(min(retry.tries, 3), retry.pause_s, retry.stop))
            write_file(out / name, part.read_bytes())
        except Refused:
            pass
        transfer.forget(part)


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
