"""Check a folder of cases; the library behind `python -m data_prep.check DIR`."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from data_prep.check.case import CaseReport, Task, check_case
from data_prep.check.findings import Finding, Report, finding, in_order
from data_prep.check.published import published_findings
from data_prep.datasets.cohorts import kind_of_case
from data_prep.datasets.kits import Layout, find_layout, no_case, patient_of
from data_prep.files.names import printable
from data_prep.geometry.network_grid import GridSettings
from data_prep.origin import SIMULATED
from data_prep.parallel.tasks import WorkerDied, check_jobs, run

BYTES_PER_PIXEL = 1.3  # of a cached slice: 0.9 to 1.1 measured at 128 and 256 pixels, and a margin for noisy scans
KITS19_TEST = range(210, 300)  # published without labels


def check_folder(
    root: str | Path,
    images: str | None = None,
    labels: str | None = None,
    *,
    size: int = 256,
    cache: str | Path | None = None,
    jobs: int = 1,
    pixel_mm: float | None = None,
    strict: bool = False,
) -> Report:
    """Check every case of a folder: findings, facts per case, and the size of a cache. One case never stops the others.

    Args:
        root: the folder.
        images: pattern of the images, as for `find_cases`.
        labels: pattern of the labels; labels without image are also checked.
        size: pixels per side of the cache's slices.
        cache: where the cache would be written; None for the disk of `root`.
        jobs: number of processes.
        pixel_mm: fixed pixel size of the cache's slices; None: the whole image fits.
        strict: labels of which the cache loses more than 1 % are an error, not a warning.

    Raises:
        InputError: `root` is not a folder or holds nothing like a case, or a setting is out of range.
    """
    check_jobs(jobs)
    settings = GridSettings(size, pixel_mm)
    layout = find_layout(root, images, labels)
    of_cases = [problem for problem in layout.problems if problem.case]
    if not layout.cases and not of_cases:
        raise no_case(root, layout, images)
    tasks = [Task(case.name, case.image, case.labels, case.metadata, settings, strict) for case in layout.cases]
    tasks += [Task(name, None, path, metadata, settings, strict) for name, path, metadata in layout.labels_alone]
    reports = []
    with run(check_case, tasks, jobs=jobs, what="check") as results:
        for index, result in results:
            if isinstance(result, WorkerDied):
                name = tasks[index].case
                result = CaseReport(name, {}, (finding(name, "worker_died", str(result)),))
            reports.append(result)
    reports.sort(key=lambda report: report.case)
    names = sorted({printable(task.case) for task in tasks} | {problem.case for problem in of_cases})
    findings = _layout_findings(layout) + [one for report in reports for one in report.findings]
    findings += _same_twice(reports)
    drawn = [task.labels for task in tasks if task.labels is not None]
    doubled = {one.case for one in findings if one.code == "second_phase"}
    if SIMULATED not in {kind_of_case(case.name, case.image, case.labels) for case in layout.cases}:
        findings += published_findings(Path(root), drawn, names, {one.case: one.facts for one in reports}, doubled)
    summary, short = _disk(Path(root), reports, settings, cache)
    facts = {printable(report.case): report.facts for report in reports if report.facts}
    findings = _few_slices(findings + short, facts)
    return Report(printable(root), "cases", tuple(names), facts, in_order(findings), summary)


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
    by_hash: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for report in reports:
        for code, what, sha256 in (
            ("same_image", "images", report.image_sha256),
            ("same_labels", "labels", report.label_sha256),
        ):
            if sha256:
                by_hash[code, what, sha256].append(report.case)
    found = []
    for (code, what, _), names in by_hash.items():
        for name in names if len(names) > 1 else ():
            others = [other for other in names if other != name]
            listed = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            found.append(finding(name, code, f"its {what} equal those of {listed} voxel for voxel"))
    return found


def _few_slices(findings: list[Finding], facts: dict[str, dict[str, Any]]) -> list[Finding]:
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
    target = Path(root if cache is None else cache).resolve()
    while not target.exists():
        target = target.parent
    needed, free = int(slices * settings.size**2 * BYTES_PER_PIXEL), shutil.disk_usage(target).free
    summary = {"slices": slices, "cache_size": settings.size, "cache_bytes": needed, "free_bytes": free}
    if needed <= free:
        return summary, []
    what = f"the cache at {settings.size} pixels needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    return summary, [finding("", "disk_space", what)]
