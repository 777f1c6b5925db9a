"""Small finished runs and evaluations for the tests of the report; nothing is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.cache.manifest import read_manifest, write_manifest
from data_prep.files.json_files import write_json
from kidney_seg.config.presets import PRESETS
from kidney_seg.evaluate.case_scores import score_case
from kidney_seg.evaluate.score_files import write_scores
from support.helpers import KITS_AFFINE, save, write_cache

SPACING_MM = (3.0, 0.8, 0.8)
SHAPE_ZYX = (24, 80, 120)
KITS19 = {"cohort": {"kind": "kits19"}}
SCRIPT = '<img src=x onerror="window.hacked=1">'
NAMES = (SCRIPT, 'Müller\'s "left" & right', "case_00003", "病例 04")


def patient(tumor_mm: float, seen_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image (HU), truth and prediction [z, y, x] in axial order: a tumor on top of the patient's right kidney.

    The right kidney is on the left of the picture. `tumor_mm`, `seen_mm`: radius of the tumor and of the predicted one.
    """
    z, y, x = (np.arange(n) * mm for n, mm in zip(SHAPE_ZYX, SPACING_MM, strict=True))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")

    def ball(center, radii):
        return sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), center, radii, strict=True)) < 1

    def labels(radius):
        found = np.zeros(SHAPE_ZYX, np.uint8)
        found[ball((33, 32, 24), (21, 13, 13)) | ball((33, 32, 72), (21, 13, 13))] = 1
        if radius:
            found[ball((48, 32, 24), (radius,) * 3)] = 2
        return found

    truth, prediction = labels(tumor_mm), labels(seen_mm)
    image = np.select([truth == 2, truth == 1], [60, 150], -20).astype(np.int16)
    return image, truth, prediction


def stored(axial: np.ndarray) -> np.ndarray:
    """Return an axial array in the axis order and directions of KITS_AFFINE, (inferior, posterior, left)."""
    return axial[::-1]


def make_run(root: Path, names=NAMES, sizes=((15, 14), (12, 9), (9, 0), (0, 0))) -> Path:
    """Write a finished run with its cache and sources; one case for each of `names`, with the radii `sizes` in mm."""
    cases, rows, run = {}, [], root / "run"
    for name, (tumor_mm, seen_mm) in zip(names, sizes, strict=True):
        image, truth, prediction = patient(tumor_mm, seen_mm)
        (root / "kits" / name).mkdir(parents=True)
        save(root / "kits" / name / "imaging.nii.gz", stored(image), KITS_AFFINE)
        save(root / "kits" / name / "segmentation.nii.gz", stored(truth), KITS_AFFINE)
        (run / "evaluation" / "test").mkdir(parents=True, exist_ok=True)
        save(run / "evaluation" / "test" / f"{name}.nii.gz", stored(prediction), KITS_AFFINE)
        rows.append(score_case(name, truth, prediction, SPACING_MM, prediction))
        cases[name] = (image[:, :32, :32], truth[:, :32, :32])
    (root / "cache").mkdir()
    manifest = write_cache(root / "cache", cases)
    entries = [
        replace(
            entry,
            image_path=str(root / "kits" / entry.case / "imaging.nii.gz"),
            label_path=str(root / "kits" / entry.case / "segmentation.nii.gz"),
        )
        for entry in manifest.entries
    ]
    write_manifest(root / "cache", read_manifest(root / "cache").settings, entries)
    config = PRESETS["demo"]
    best = {"round": 1, "accepted": True, "trouble": None, "kidney": 0.9, "tumor": 0.5, "score": 0.7}
    write_scores(
        rows, run / "evaluation" / "test", {"best": best, "stop_on": "selection", "cohort": {"kind": "kits19"}}
    )
    write_json(run / "config.json", config.to_dict())
    write_json(run / "manifest.json", {"seed": 3, "data": str(root / "cache"), "versions": {"tensorflow": "2.21.0"}})
    events = []
    for number in (0, 1):
        history = [{"epoch": epoch, "steps": 10 * (epoch + 1), "loss": 1 / (1 + number + epoch)} for epoch in (0, 1)]
        events.append({"event": "attempt", "round": number, "attempt": 0, "steps": 20, "history": history})
        events.append({"event": "round", **best, "round": number})
    events.append({"event": "tested", "cases": len(rows)})
    (run / "journal.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n")
    return run
