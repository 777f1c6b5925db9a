from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
)
from support.dicom_files import random_hu, save_slices, slices_of, without_identifiers
from support.helpers import one_line

from data_prep.dicom.__main__ import main
from data_prep.errors import InputError
from data_prep.volume import read_labels, read_volume


def tilt(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[1] += k * 2.5 * np.tan(np.radians(12))


def shift(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[0] += 3.0 * (k == 2)


def move(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] += 1.0 * (k == 2)


def stretch(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] += 2.5 * max(k - 2, 0) * 0.4


def double(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] -= 2.5 * (k == 4)


def double_all(data: Dataset, k: int) -> None:
    data.ImagePositionPatient[2] = 5.0 * (k // 2)


def turn(data: Dataset, k: int) -> None:
    if k > 3:
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def stretch_pixels(data: Dataset, k: int) -> None:
    data.PixelSpacing = [0.8, 0.7 + 0.01 * (k == 0)]


def grow(data: Dataset, k: int) -> None:
    if k == 1:
        data.Rows, data.PixelData = 10, bytes(2 * 10 * 7)


def lose(name: str):
    return lambda data, k: delattr(data, name) if k == 3 else None


def put(**values):
    def change(data: Dataset, k: int) -> None:
        for name, value in values.items():
            setattr(data, name, value)

    return change


def color(data: Dataset, k: int) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = bytes(9 * 7 * 3 + 1)


def enhanced(data: Dataset, k: int) -> None:
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = 1


REFUSED = {
    "tilted": (tilt, r"gantry was tilted by 12\.0 degrees"),
    "shifted": (shift, r"shifted sideways by up to 3 mm"),
    "moved": (move, r"slices are 1\.5 to 3\.5 mm apart; expected even spacing"),
    "stretched": (stretch, r"slices are 2\.5 to 3\.5 mm apart; expected even spacing"),
    "doubled": (double, r"1 slices are in the place of another \(the first at 40\.75 mm\)"),
    "two phases": (double_all, "3 slices are in the place of another"),
    "all in one place": (put(ImagePositionPatient=[0, 0, 0]), "5 slices are in the place of another"),
    "turned": (turn, r"mixed orientations: 1 x 0 x 0 x 0 x 1 x 0 \(4 slices\)"),
    "pixels": (stretch_pixels, r"mixed pixel spacings: 0\.8 x 0\.7 \(5 slices\), 0\.8 x 0\.71 \(1 slices\)"),
    "sizes": (grow, r"mixed sizes: 7 x 9 \(5 slices\), 7 x 10 \(1 slices\)"),
    "no position": (lose("ImagePositionPatient"), "1 of 6 slices lack position"),
    "no orientation": (lose("ImageOrientationPatient"), "1 of 6 slices lack position, orientation"),
    "no pixel spacing": (lose("PixelSpacing"), "1 of 6 slices lack"),
    "sheared pixels": (put(ImageOrientationPatient=[1, 0, 0, 0.1, 0.99, 0]), "6 of 6 slices lack"),
    "no length": (put(ImageOrientationPatient=[0] * 6), "6 of 6 slices lack"),
    "spacing 0": (put(PixelSpacing=[0, 0.7]), "6 of 6 slices lack"),
    "color": (color, "6 slices are in color"),
    "enhanced": (enhanced, r"multi-frame \(enhanced\)"),
    "frames": (put(NumberOfFrames=2), r"multi-frame \(enhanced\)"),
    "scouts": (put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), r"no CT series.*found localizers \(1 series\)"),
    "MR": (put(Modality="MR"), r"no CT series.*found MR \(1 series\)"),
    "unknown": (put(Modality="JANE"), r"no CT series.*found another modality \(1 series\)"),
    "slope 0": (put(RescaleSlope=0), "RescaleSlope is 0; expected a number up to 100, not 0"),
    "slope 1e308": (put(RescaleSlope="1e308"), "RescaleSlope is 1e\\+308"),
    "slope inf": (put(RescaleSlope="inf"), "RescaleSlope is inf"),
    "intercept nan": (put(RescaleIntercept="nan"), "RescaleIntercept is nan"),
    "palette": (put(PhotometricInterpretation="PALETTE COLOR"), "6 slices are in color"),
    "table": (put(ModalityLUTSequence=[Dataset()]), r"6 slices have a table of values \(Modality LUT\)"),
    "no HU": (put(RescaleType="Z_EFF"), "values are not HU"),
    "spacing 1e308": (put(PixelSpacing=["1e308", "1"]), r"spacing is 1 x 1e\+308 x 2.5 mm; expected that of a CT"),
    "position 1e200": (lambda data, k: setattr(data, "ImagePositionPatient", ["1e200", 0, 2.5 * k]), "or huge"),
    "terabytes": (put(Rows=65535, Columns=65535), "claims 65535 x 65535 pixels of 16 bits"),
    "no rows": (put(Rows=0), "expected 1 or more along each axis"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grid_of_ct_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, words = REFUSED[name]
    folder = save_slices(tmp_path / "scan", slices_of(random_hu(), change=change))
    for read in (read_volume, read_labels):
        with pytest.raises(InputError, match=words) as caught:
            read(folder)
        assert str(folder) in without_identifiers(one_line(caught))


def test_missing_slices_are_counted_and_placed(tmp_path: Path) -> None:
    slices = slices_of(random_hu(10))
    folder = save_slices(tmp_path / "scan", [data for k, data in enumerate(slices) if k not in (3, 6, 7)])
    with pytest.raises(
        InputError, match=r"3 slices are missing \(1 after 38\.25 mm, 2 after 45\.75 mm; the others are 2\.5"
    ) as caught:
        read_volume(folder)
    assert (caught.value.path, caught.value.code) == (folder, "missing_slices")


def test_a_single_slice_and_folders_without_dicom_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one slice, so there is no spacing"):
        read_volume(save_slices(tmp_path / "one", slices_of(random_hu(1))))
    (tmp_path / "text").mkdir()
    with pytest.raises(InputError, match=r"no DICOM image in this folder \(0 other files\)"):
        read_volume(tmp_path / "text")
    (tmp_path / "text" / "notes.txt").write_text("JANE")
    (tmp_path / "text" / "scan").symlink_to(tmp_path / "one")
    with pytest.raises(InputError, match=r"no DICOM image in this folder \(1 other files; 1 links, which are not"):
        read_volume(tmp_path / "text")
    assert main([str(tmp_path / "absent")]) == 2


@pytest.mark.parametrize(("step", "unit"), [(1.5, 1.0), (0.7, 1.0), (2.3, 1.0), (0.75, 0.5), (0.15, 0.1)])
def test_positions_that_were_rounded_are_no_missing_slices(tmp_path: Path, step: float, unit: float) -> None:
    def change(data, k: int) -> None:
        data.ImagePositionPatient = [0, 0, round(float(np.rint(k * step / unit) * unit), 3)]

    with pytest.raises(InputError, match=f"slice positions are rounded to {unit:g} mm") as caught:
        read_volume(save_slices(tmp_path, slices_of(random_hu(40, 2, 2), change=change)))
    assert caught.value.code != "missing_slices" and "on average" in one_line(caught)


def test_rounding_within_a_tenth_of_the_spacing_is_read(tmp_path: Path) -> None:
    def change(data, k: int) -> None:
        data.ImagePositionPatient = [0, 0, round(k * 1.25, 1)]

    volume = read_volume(save_slices(tmp_path, slices_of(random_hu(40, 2, 2), change=change)))
    assert volume.spacing_mm[0] == pytest.approx(1.25, abs=0.005)


def test_a_missing_slice_among_whole_millimeters_is_missing(tmp_path: Path) -> None:
    def change(data, k: int) -> None:
        data.ImagePositionPatient = [0, 0, k + (k > 20)]

    with pytest.raises(InputError, match="1 slices are missing") as caught:
        read_volume(save_slices(tmp_path, slices_of(random_hu(40, 2, 2), change=change)))
    assert caught.value.code == "missing_slices"


def test_an_empty_modality_lut_is_none(tmp_path: Path) -> None:
    hu = random_hu()
    folder = save_slices(tmp_path / "scan", slices_of(hu, change=put(ModalityLUTSequence=[])))
    assert np.array_equal(read_volume(folder).voxels, hu)
