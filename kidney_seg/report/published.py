"""Published Dice on KiTS19, to be read beside one's own: the paper's Table 1 and others, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Mean Dice of one system: kidney with its tumors (label > 0), tumor, and their mean, as its source states them."""

    system: str
    kidney: float
    tumor: float
    average: float | None  # None: the source states none
    patients: str
    source: str


PAPER = Published(
    "The paper: enhanced 2D U-Net, progressive training",
    0.953,
    0.572,
    0.763,
    "40 of the challenge's 90 test patients",
    "He, Leung and Wang, Progressively Training an Enhanced U-Net Model for Segmentation of Kidney Tumors, Table 1",
)

OTHERS = (
    Published(
        "Two human annotators",
        0.983,
        0.923,
        None,
        "KiTS19 patients",
        "Heller et al., The state of the art in kidney and kidney tumor segmentation in contrast-enhanced CT imaging, "
        "Medical Image Analysis 2021",
    ),
    Published(
        "Isensee and Maier-Hein, residual 3D U-Net (1st of 106)",
        0.974,
        0.851,
        0.9123,
        "the challenge's 90 test patients",
        "Heller et al. 2021, as above",
    ),
    Published(
        "Zhao et al., multi-scale supervised 3D U-Net (7th)",
        0.9741,
        0.8181,
        0.8961,
        "the challenge's 90 test patients",
        "Zhao and Zeng, Multi Scale Supervised 3D U-Net for Kidney and Tumor Segmentation, KiTS19 manuscript",
    ),
    Published(
        "nnU-Net, 3D at full resolution",
        0.9702,
        0.8367,
        0.9035,
        "cross-validation on the public patients",
        "MIC-DKFZ/nnUNet, GitHub issue 2519",
    ),
    Published(
        "3D U-Net of MLPerf",
        0.9342,
        0.7924,
        0.8633,
        "held-out public patients",
        "MLCommons, reference implementation of the 3D U-Net benchmark",
    ),
    Published(
        "Santini et al., three stages, 2.5D",
        0.96,
        0.74,
        None,
        "the challenge's 90 test patients",
        "Santini, Moreau and Rubeaux, Kidney tumor segmentation using an ensembling multi-stage deep learning "
        "approach, arXiv 1909.00735",
    ),
    Published(
        "Causey et al. (Arkansas AI-Campus), ensemble of 2D U-Nets",
        0.9470,
        0.6099,
        0.7784,
        "the challenge's 90 test patients",
        "Causey et al., An Ensemble of U-Net Models for Kidney Tumor Segmentation with CT images, IEEE/ACM Trans. "
        "Comput. Biol. Bioinform. 2022",
    ),
    Published(
        "Vu et al., cascaded 3D U-Nets",
        0.902,
        0.408,
        None,
        "five-fold cross-validation on the 210 public patients",
        "Vu et al., End-to-End Cascaded U-Nets with a Localization Network for Kidney Tumor Segmentation, "
        "arXiv 1910.07521",
    ),
)
