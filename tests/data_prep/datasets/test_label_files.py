"""Names of cases that are links, alike in every command."""

from __future__ import annotations

import numpy as np
from support.helpers import save

from data_prep.datasets.kits import find_cases
from data_prep.datasets.label_files import find_label_files
from data_prep.scans import find_scans


def test_links_have_their_own_names(tmp_path):
    """A folder of links to cases elsewhere, and label files that are links (git-annex), as `find_cases` names them."""
    store = tmp_path / "store"
    for name in ("a", "b"):
        (store / name).mkdir(parents=True)
        for file in ("imaging.nii.gz", "segmentation.nii.gz"):
            save(store / name / file, np.zeros((2, 4, 4), np.uint8))
    linked = tmp_path / "linked"
    (linked / "case_00002").mkdir(parents=True)
    (linked / "case_00001").symlink_to(store / "a", target_is_directory=True)
    for file in ("imaging.nii.gz", "segmentation.nii.gz"):
        (linked / "case_00002" / file).symlink_to(store / "b" / file)
    assert list(find_label_files(linked)) == ["case_00001", "case_00002"]
    assert [case.name for case in find_cases(linked)[0]] == ["case_00001", "case_00002"]
    assert [scan.name for scan in find_scans([linked])[0]] == ["case_00001", "case_00002"]
    assert list(find_label_files(linked / "case_00001")) == ["case_00001"]
    assert find_cases(linked / "case_00001")[0][0].name == "case_00001"
    assert find_scans([linked / "case_00002" / "imaging.nii.gz"])[0][0].name == "case_00002"
