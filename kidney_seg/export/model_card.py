"""Model card of an export: training data, scores and limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.origin import Origin
from kidney_seg.evaluate.score_files import read_scores
from kidney_seg.model.model_file import ModelFile
from kidney_seg.run import layout
from kidney_seg.run.recipe import read_manifest
from kidney_seg.weights import About


def write_card(loaded: ModelFile, contract: Mapping[str, Any], run: Path | None, exported: str) -> str:
    """Return the card of a loaded model as Markdown.

    run: the run folder, None for a model file without one; exported: name of the format. Scores are those of the run's
    test patients, with their number; without scores the card says so.
    """
    grid, model = contract["grid"], loaded.config.model
    pixel = f"pixels of {grid['pixel_mm']} mm" if grid["pixel_mm"] else "the whole field of view"
    lines = [
        "# Kidney and kidney-tumor segmentation in CT",
        "",
        "**For research. Not for diagnosis: not a medical device, approved by no authority.**",
        "",
        f"Exported as {exported} by kidney_seg. Takes axial CT slices in HU (rows from front to back, columns from",
        "the patient's right to left) and their pixel spacing in mm; answers with labels 0 background, 1 kidney,",
        "2 tumor on the same pixels. Windowing, resampling and the way back are inside; the removal of distant",
        "objects, which needs the whole volume, is not: `python -m kidney_seg.serving` does it.",
        "",
        "## Model",
        "",
        f"- attention U-Net, {grid['size']} x {grid['size']} pixels over {pixel}, HU {model.hu_window[0]:g} to "
        f"{model.hu_window[1]:g}",
        f"- SHA-256 of the file of its weights: `{contract['model_sha256']}`",
        *(f"- averaged with another of SHA-256 `{other}`" for other in contract["ensemble_sha256"]),
    ]
    if mm := loaded.config.prediction.smooth_z_mm:
        lines += [
            f"- `kidney_seg.predict` smooths its probabilities along z ({mm:g} mm). **This "
            "export does not:** its labels are those of single slices, and differ.",
        ]
    if contract["input_slices"] > 1:
        lines += [
            f"- sees {contract['input_slices']} neighboring slices: **the slices of one request must be neighbors in "
            "one scan, in order. Never switch on batching across requests in the server.**",
        ]
    origin = " ".join(f"**{text[0].upper()}{text[1:]}.**" for text in contract["about"]["trained_on"])
    lines[3:3] = [origin, ""]
    scores = _scores(run, of_many=bool(contract["ensemble_sha256"]))
    lines += ["", "## Data", "", *_data(run, loaded.about), "", "## Scores", "", *scores, "", "## Limits", ""]
    lines += [
        "- Trained and scored on what is named above and on nothing else: other scanners, contrast phases, ages and",
        "  diseases were not measured. Without contrast agent kidneys may be missed altogether.",
        "- Cysts count as kidney. Every patient of KiTS, and nearly every simulated one, has a tumor; how often one is",
        "  reported where there is none is not known from such data.",
        "- Small tumors are often missed, and parts of other organs can be marked. A person has to look at every",
        "  result.",
        "",
    ]
    return "\n".join(lines)


def _data(run: Path | None, about: About | None = None) -> list[str]:
    if about:
        return [f"- {about.name}: {about.data}", f"- license: {about.license}"]
    if run is None:
        return ["Exported from a model file without its run folder: its data are not recorded here by checksum."]
    manifest = read_manifest(run / layout.MANIFEST, "data_sha256", "split_sha256", "seed")
    lines = [
        f"- training data: SHA-256 `{manifest['data_sha256']}`",
        f"- split by patient: SHA-256 `{manifest['split_sha256']}`, seed {manifest['seed']}",
    ]
    if manifest.get("pretrained_sha256"):
        lines.append(f"- began with the weights of another model: SHA-256 `{manifest['pretrained_sha256']}`")
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
    return [*lines, f"- trained with {versions}"]


def _scores(run: Path | None, of_many: bool) -> list[str]:
    if run is None or not (run / layout.SCORES).is_file():
        return ["None: the run was not evaluated when this was exported."]
    scores = read_scores(run / layout.SCORES, "scores of the test set")
    patients = len({row["patient"] for row in scores["cases"]})
    cohort = f" ({Origin(**scores['cohort'])})" if "cohort" in scores else ""
    lines = [
        f"Dice of {patients} test patients{cohort}, {len(scores['cases'])} scans, at the resolution of their CT; "
        "kidney is kidney with tumor.",
        "",
        "| | mean | median | scans |",
        "| --- | --- | --- | --- |",
    ]
    for prefix, what in (("", "as served"), ("postprocessed_", "without distant objects")):
        for name, row in scores["summary"].get(f"{prefix}all", {}).items():
            if name != "average" and row["n"]:
                lines.append(f"| {name}, {what} | {row['mean']:.3f} | {row['median']:.3f} | {row['n']} |")
    if of_many:
        lines += ["", "They are those of the run's best model by itself; the average was not scored."]
    if scores.get("stop_on") == "test":
        lines += ["", "The rounds of training were chosen on these very patients: the figures are optimistic."]
    return lines
