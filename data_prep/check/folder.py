"""The data doctor: `python -m data_prep.check DIR` names what is amiss in a folder of cases or in a cache."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.check.case import CaseReport, check_case
from data_prep.check.findings import Finding, Report, finding, in_order
from data_prep.cli import progress
from data_prep.datasets.kits import Layout, find_layout, patient_of
from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.geometry.network_grid import GridSettings

BYTES_PER_PIXEL = 1.3  # of a cached slice: 0.9 to 1.1 measured at 128 and 256 pixels, and a margin for noisy scans
KITS19_TEST = range(210, 300)  # published without labels

Job = tuple[str, Path | None, Path | None, dict[str, Any] | None]  # the arguments of check_case


def check_folder(
    root: str | Path,
    images: str | None = None,
    labels: str | None = None,
    *,
    size: int = 256,
    cache: str | Path | None = None,
    jobs: int = 1,
) -> Report:
    """Check every case of a folder, each file read once; the findings, facts by case, and what a cache would need.

    root, images, labels: as for `find_cases`; labels without image are checked, too. size: of the cache's slices,
    cache: where it would be written (default: the disk of `root`). jobs: processes. One case never stops the
    others. InputError where `root` is no folder, holds nothing like a case, or a setting is out of range.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: expected 1 or more")
    settings = GridSettings(size)
    layout = find_layout(root, images, labels)
    of_cases = [problem for problem in layout.problems if problem.case]
    if not layout.cases and not of_cases:
        raise InputError(
            f"{root}: found no case; expected folders such as case_00000 with imaging.nii.gz in each, a cache, "
            "or --images and --labels with patterns that fit"
        )
    work: list[Job] = [(case.name, case.image, case.labels, case.metadata) for case in layout.cases]
    work += [(name, None, path, metadata) for name, path, metadata in layout.labels_alone]
    reports = sorted(progress(_reports(work, jobs), "check", total=len(work)), key=lambda report: report.case)
    findings = _layout_findings(layout) + [one for report in reports for one in report.findings]
    findings += _same_twice(reports)
    summary, short = _disk(Path(root), reports, settings, cache)
    names = {printable(name) for name, *_ in work} | {problem.case for problem in of_cases}
    facts = {printable(report.case): report.facts for report in reports if report.facts}
    return Report(
        printable(root),
        "cases",
        tuple(sorted(names)),
        facts,
        in_order(_summarized(findings + short, facts)),
        summary,
    )


def _reports(work: list[Job], jobs: int) -> Iterator[CaseReport]:
    if jobs == 1:
        for job in work:
            yield check_case(*job)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    died: list[Job] = []
    # spawned, not forked: SimpleITK's and BLAS' threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(check_case, *job): job for job in work}
        try:
            for future in as_completed(running):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    died.append(running[future])
        finally:
            pool.shutdown(cancel_futures=True)
    for job in died:  # one of them ended the pool, so each on its own
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                yield pool.submit(check_case, *job).result()
            except BrokenProcessPool:
                lost = finding(job[0], "worker_died", "the process that read it ended without a word")
                yield CaseReport(job[0], {}, (lost,))


def _layout_findings(layout: Layout) -> list[Finding]:
    unlabelled = [problem for problem in layout.problems if problem.code == "no_labels"]
    published = [problem for problem in unlabelled if _in_kits19_test(problem.case)]
    rest = [problem for problem in unlabelled if problem not in published]
    found: list[Finding] = []
    if published:
        found.append(finding("", "unlabelled", f"{len(published)} cases of KiTS19's test set have no labels"))
    if rest and len(unlabelled) == len(layout.cases) > 1:
        found.append(finding("", "unlabelled", f"none of the {len(layout.cases)} cases has labels"))
        rest = []
    kept = [problem for problem in layout.problems if problem.code != "no_labels"] + rest
    return found + [finding(problem.case, problem.code, problem.what) for problem in kept]


def _in_kits19_test(name: str) -> bool:
    number = patient_of(name).removeprefix("case_")
    return number.isdigit() and int(number) in KITS19_TEST


def _same_twice(reports: list[CaseReport]) -> list[Finding]:
    by: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in reports:
        if report.image_sha256:
            by["same_image", report.image_sha256].append(report.case)
        if report.label_sha256:
            by["same_labels", report.label_sha256].append(report.case)
    found = []
    for (code, _), names in by.items():
        what = "images" if code == "same_image" else "labels"
        for name in names if len(names) > 1 else ():
            others = [other for other in names if other != name]
            listed = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            found.append(finding(name, code, f"its {what} equal those of {listed} voxel for voxel"))
    return found


def _summarized(findings: list[Finding], facts: dict[str, dict[str, Any]]) -> list[Finding]:
    slices = [fact["shape_zyx"][0] for fact in facts.values() if "shape_zyx" in fact]
    singles = {name for name, fact in facts.items() if fact.get("shape_zyx", [0])[0] == 1}
    if not singles:
        return findings
    if len(singles) == len(slices) > 1:
        what = f"all {len(slices)} cases hold one slice each"
        return [*findings, finding("", "single_slices", what)]
    return findings + [finding(name, "few_slices", "1 slice; expected 16 or more") for name in singles]


def _disk(
    root: Path, reports: list[CaseReport], settings: GridSettings, cache: str | Path | None
) -> tuple[dict[str, Any], list[Finding]]:
    slices = sum(report.facts["shape_zyx"][0] for report in reports if "shape_zyx" in report.facts)
    target = Path(cache) if cache is not None else root
    target = target.resolve()
    while not target.exists():
        target = target.parent
    needed, free = int(slices * settings.size**2 * BYTES_PER_PIXEL), shutil.disk_usage(target).free
    summary = {"slices": slices, "cache_size": settings.size, "cache_bytes": needed, "free_bytes": free}
    short = []
    if needed > free:
        what = f"the cache at {settings.size} pixels needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        short.append(finding("", "disk_space", what))
    return summary, short
