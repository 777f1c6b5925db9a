"""The presets: the paper, the demo, and training with few patients."""

from __future__ import annotations

from types import MappingProxyType

from kidney_seg.config.data import DataConfig
from kidney_seg.config.loss import LossConfig
from kidney_seg.config.model import ModelConfig
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.config.rounds import RoundsConfig
from kidney_seg.config.run_config import Config

RENAMED = {"few": "few_patients"}


class _Presets(dict[str, Config]):
    """Presets by name. Old names are found, but not listed."""

    def __contains__(self, name: object) -> bool:
        return name in RENAMED or super().__contains__(name)

    def __missing__(self, name: str) -> Config:
        return self[RENAMED[name]]


PRESETS: MappingProxyType[str, Config] = MappingProxyType(
    _Presets(
        # The same method, small enough for two and a half minutes on two CPU cores with the simulated patients.
        # `inline` costs as much as `side` at this size and finds more tumor (measured: docs/explanation/design.md).
        demo=Config(
            model=ModelConfig(size=64, width_factor=0.25, decoder="inline", batch_norm_momentum=0.9),
            data=DataConfig(scale=0.2, rotation_deg=20.0),
            rounds=RoundsConfig(starts=3, start_steps=100, steps=400, max_rounds=3, peak_rate=4e-3, patient_share=0.75),
        ),
        # For about a hundred patients and no GPU, with or without a network pretrained on simulated patients. On single
        # slices of KiTS patients better than `paper` for the kidney, not for tumor (docs/howto/few_patients.md).
        few_patients=Config(
            model=ModelConfig(size=128, decoder="inline", batch_norm_momentum=0.9),
            loss=LossConfig(cross_entropy=0.5, coarse_targets="average"),
            data=DataConfig(
                scale=0.25,
                rotation_deg=25.0,
                contrast=0.3,
                brightness_hu=40.0,
                blur_px=1.0,
                gamma_change=0.5,
                noise_hu=20.0,
            ),
            # A long first round on all patients, then a short one at a low rate: rounds at the rate of the first, on
            # three quarters of the patients, took as many steps and improved nothing (docs/howto/few_patients.md).
            rounds=RoundsConfig(
                starts=1, start_steps=900, steps=150, max_rounds=1, peak_rate=1.5e-3, rate_decay=0.3, patient_share=0.75
            ),
            prediction=PredictionConfig(odds=(1.0, 1.0, 8.0), flips="left_right", zooms=(1.0, 1.15)),
        ),
        paper=Config(),
    )
)
