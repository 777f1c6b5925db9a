"""The contrast phase by descriptions as scanners write them, and its place in the choice of a series."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid
from support.dicom_files import random_hu, save_slices, slices_of

from data_prep.dicom.phases import ARTERIAL, DELAYED, PLAIN, UNKNOWN, VENOUS, phase_of
from data_prep.dicom.reader import open_series

SAID = {
    PLAIN: [
        "ABD W/O 2.0", "ABDOMEN WO CONTRAST", "Abd nativ 5.0 B30f", "non-contrast", "NCCT", "Abdomen C- 1.25",
        "sans injection", "Non Con Axial", "pre contrast", "noncontrast", "Abd ohne KM", "Unenhanced_1.5",
    ],
    ARTERIAL: [
        "arterial 1.0", "Late Arterial", "late_arterial", "ART 1mm", "corticomedullary", "Abd arteriell", "CTA 0.75",
        "fase arteriosa", "35 sec",
    ],
    VENOUS: [
        "Portal Venous 2.0", "PV", "venous_phase", "Abd ven\u00f6s 1.5", "nephrographic", "NEPHRO 1.25", "70s",
        "90 sec", "120s", "portalven\u00f6s", "fase venosa",
    ],
    DELAYED: ["delayed 5min", "excretory", "Delay", "10 min", "Sp\u00e4tphase 3.0", "late", "urographic"],
    UNKNOWN: ["Abdomen 1.5 B30f", "", "CHEST/ABD/PELVIS", "C-SPINE", "wood", "vendor", "latex", "12 s"],
}  # fmt: skip


@pytest.mark.parametrize("phase", SAID)
def test_phases(phase):
    found = {text: phase_of(text) for text in SAID[phase]}
    assert found == dict.fromkeys(SAID[phase], phase)
    assert phase_of("axial 1.5", SAID[phase][0]) == phase


def test_the_series_with_contrast_comes_first_then_thin_then_late_arterial(tmp_path):
    def named(description, every=1):
        def change(data, k):
            data.SeriesDescription, data.StudyInstanceUID = description, "1.2.3"
            data.ImagePositionPatient = [*data.ImagePositionPatient[:2], every * k]

        return change

    def add(name, description, slices, every):
        uid = generate_uid(entropy_srcs=[name])
        save_slices(tmp_path / name, slices_of(random_hu(slices), uid=uid, change=named(description, every)))

    add("a", "nativ 1.0", 12, 1)
    assert len(open_series(tmp_path).slices) == 12
    add("b", "Abdomen 2.0", 6, 2)
    assert "3 CT" not in open_series(tmp_path).notes[0] and len(open_series(tmp_path).slices) == 6  # not the plain one
    add("c", "delayed 1.0", 11, 1)
    assert len(open_series(tmp_path).slices) == 11  # thin before the phase
    add("d", "portal venous 1.0", 10, 1)
    assert len(open_series(tmp_path).slices) == 10
    add("e", "late arterial 1.0", 9, 1)
    found = open_series(tmp_path)
    assert len(found.slices) == 9 and ", arterial; " in found.notes[0] and "without contrast" in found.notes[0]
