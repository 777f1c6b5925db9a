"""Lines that describe each series on the screen; never written to a file, because descriptions may name a patient."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.dicom.headers import FolderScan, SliceHeader, series_key
from data_prep.dicom.phases import ARTERIAL, DELAYED, PLAIN, VENOUS, phase_of
from data_prep.dicom.series import Series, series_of
from data_prep.dicom.stacking import stack
from data_prep.errors import InputError
from data_prep.files.quiet import silent

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SHOWN = (  # read besides `headers.TAGS`, of the first and the last image of each series
    "SeriesDescription", "ProtocolName", "SliceThickness", "ConvolutionKernel", "ContrastBolusAgent",
    "ContrastBolusStartTime", "AcquisitionTime",
)  # fmt: skip
_NO_AGENT = ("NO", "NONE", "N/A", "NO CONTRAST", "WITHOUT")
_DELAYS_S = ((45.0, ARTERIAL), (150.0, VENOUS), (1800.0, DELAYED))  # after the injection began: up to, phase
_DAY_S = 86400.0
_LONGEST = 64  # of a description, as DICOM has it


@dataclass(frozen=True)
class Listed:
    """A series and what its header says, empty or None where it says nothing.

    folder: of its images, relative to the one that was searched. step_mm: between slices, if they can be stacked.
    start_s: when its first image was taken. delay_s: from the injection to then. agent: a contrast agent, by the
    header; None if it says nothing. Texts are as in the header, made safe to print.
    """

    series: Series
    folder: str = ""
    description: str = ""
    named: str = ""  # `phase_of` its description or protocol
    thickness_mm: float | None = None
    step_mm: float | None = None
    kernel: str = ""
    agent: bool | None = None
    start_s: float | None = None
    delay_s: float | None = None


def list_for_screen(scan: FolderScan) -> list[str]:
    """Return two lines for each series of a folder: what it is, and what tells it from others; InputError as there.

    The second has folder, description, thickness and distance of slices, kernel, start after the first CT of its study,
    and a guess of the contrast phase. Only what identifies a patient by its nature (name, ID, UID) is left out: a
    description may hold anything. Print these lines, and write them nowhere.
    """
    with silent():
        found = [_listed(one, scan.folder) for one in series_of(scan)]
    lines = []
    for one in found:
        lines += [str(one.series), "    " + "; ".join(filter(None, _details(one, found)))]
    return lines


def guess_phase(one: Listed, study: Sequence[Listed]) -> tuple[str, str]:
    """Return a guess of the contrast phase of a series and what it is by; both empty if nothing speaks for one.

    The description counts first, then the time since the injection, then whether there is a contrast agent: none, where
    another series of the study has one, is a scan without contrast.
    """
    if one.named:
        return one.named, "its description"
    if one.delay_s is not None:
        phase = next((phase for most, phase in _DELAYS_S if 0 <= one.delay_s <= most), "")
        if phase:
            return phase, f"{one.delay_s:.0f} s after the injection began"
    if one.agent:
        return "with contrast", "its contrast agent"
    if one.agent is False or any(other.agent for other in study):
        return PLAIN, "no contrast agent in its header"
    return "", ""


def _details(one: Listed, listed: Sequence[Listed]) -> list[str]:
    parts = [f"folder {one.folder}" if one.folder else "", f'"{one.description}"' if one.description else ""]
    if one.thickness_mm:
        parts.append(f"{one.thickness_mm:g} mm thick")
    if one.step_mm:
        parts.append(f"{one.step_mm:.3g} mm apart")
    parts.append(f"kernel {one.kernel}" if one.kernel else "")
    if one.series.modality != "CT":
        return parts
    study = [other for other in listed if _same_study(other, one) and other.series.modality == "CT"]
    starts = [other.start_s for other in study if other.start_s is not None]
    if one.start_s is not None and len(starts) > 1:
        parts.append(f"+{(one.start_s - _first(starts)) % _DAY_S:.0f} s")
    phase, why = guess_phase(one, study)
    parts.append(f"phase (a guess by {why}): {phase}" if phase else "phase: not known")
    return parts


def _same_study(one: Listed, other: Listed) -> bool:
    study = one.series.images[0].study
    return one is other or (study == other.series.images[0].study and study != series_key(""))


def _first(starts: Sequence[float]) -> float:
    """Return the earliest of times of day; a study that spans midnight begins on the evening."""
    evening = [start for start in starts if start > _DAY_S / 2]
    spans = max(starts) - min(starts) > _DAY_S / 2
    return min(evening if spans and evening else starts)


def _listed(series: Series, root: Path) -> Listed:
    try:
        step_mm = stack(series.images, "", root)[1].spacing[2]
    except InputError:
        step_mm = None
    folders = sorted({os.path.relpath(image.path.parent, root) for image in series.images})
    folder = _safe(folders[0]) + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
    headers = [header for image in _ends(series.images) if (header := _read(image)) is not None]
    if not headers:
        return Listed(series, folder, step_mm=step_mm)
    first = headers[0]
    times = [time for header in headers if (time := _seconds(header.get("AcquisitionTime"))) is not None]
    start = _first(times) if times else None
    injected = _seconds(first.get("ContrastBolusStartTime"))
    agent = str(first.get("ContrastBolusAgent") or "").strip().upper()  # empty: unknown, by the standard
    named = [str(first.get(name) or "") for name in ("SeriesDescription", "ProtocolName")]
    return Listed(
        series=series,
        folder=folder,
        description=_safe(named[0] or named[1]),
        named=phase_of(*named),
        thickness_mm=_number(first.get("SliceThickness")),
        step_mm=step_mm,
        kernel=_safe(" ".join(_texts(first.get("ConvolutionKernel")))),
        agent=agent not in _NO_AGENT if agent else None,
        start_s=start,
        delay_s=None if start is None or injected is None else (start - injected) % _DAY_S,
    )


def _ends(images: Sequence[SliceHeader]) -> Sequence[SliceHeader]:
    placed = [image for image in images if image.position]
    if len(placed) < 2:
        return images[:1]
    along = max(range(3), key=lambda axis: abs(placed[0].position[axis] - placed[-1].position[axis]))  # type: ignore
    ordered = sorted(placed, key=lambda image: image.position[along])  # type: ignore[index]
    return ordered[0], ordered[-1]


def _read(image: SliceHeader) -> Dataset | None:
    import pydicom

    try:
        header = pydicom.dcmread(image.path, stop_before_pixels=True, force=True, specific_tags=list(SHOWN))
        for name in SHOWN:
            header.get(name)  # a value that cannot be read
        return header
    except Exception:  # pydicom raises many types
        return None


def _seconds(value: Any) -> float | None:
    """Return the seconds since midnight of a DICOM time such as 093512.25; None for anything else."""
    text = str(value or "").strip()
    digits, _, fraction = text.partition(".")
    if not digits.isdigit() or len(digits) != 6 or not (fraction.isdigit() or not fraction):
        return None
    hours, minutes, seconds = (int(digits[start : start + 2]) for start in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return hours * 3600 + minutes * 60 + seconds + (float(f"0.{fraction}") if fraction else 0.0)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value or ()]


def _safe(text: str) -> str:
    """Return a text without characters that a terminal would obey, on one line."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text.strip())
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
