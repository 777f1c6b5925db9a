"""What the docs of version 0.1 imported still imports."""

from __future__ import annotations

import importlib

import pytest

DOCUMENTED = {  # by module: names in its docs and notebooks
    "data_prep.build": "build",
    "data_prep.check": "check_folder",
    "data_prep.command": "InputError require",
    "data_prep.dicom_seg": "write_dicom_seg",
    "data_prep.files": "read_json",
    "data_prep.phantom": "write_cohort",
    "data_prep.phantom_cohort": "write_cohort",
    "data_prep.phantom_patient": "simulate_patient",
    "data_prep.split": "make_split write_split",
    "data_prep.volume": "Volume read_labels read_volume write_labels",
    "kidney_seg.attention": "draw_seen seen_by",
    "kidney_seg.compare": "compare",
    "kidney_seg.config": "Config",
    "kidney_seg.evaluate": "evaluate_folders",
    "kidney_seg.export": "export_onnx export_saved_model",
    "kidney_seg.figures": "learning_curves overlay",
    "kidney_seg.final": "table",
    "kidney_seg.intervals": "mean_interval permutation_p",
    "kidney_seg.loss_view": "draw original_focal_tversky value_and_slope",
    "kidney_seg.losses": "cross_entropy focal_tversky soft_dice_loss tversky_complement tversky_index",
    "kidney_seg.metrics": "dice kits19_dice",
    "kidney_seg.model": "build_model",
    "kidney_seg.model_view": "draw table",
    "kidney_seg.modelfile": "load_model",
    "kidney_seg.notebook": "live show_volume slider",
    "kidney_seg.postprocess": "remove_distant_objects",
    "kidney_seg.predict": "predict_volume",
    "kidney_seg.predictor": "make_predictor",
    "kidney_seg.progressive": "train",
    "kidney_seg.quiet": "quiet_tensorflow",
    "kidney_seg.report_data": "gather",
    "kidney_seg.review": "describe",
    "kidney_seg.run": "read_events",
    "kidney_seg.score_figures": "detection_by_size dice_by_patient dice_by_size volume_agreement",
    "kidney_seg.sections": "DataConfig LossConfig ModelConfig PredictionConfig RoundsConfig",
    "kidney_seg.serving": "segment_file",
    "kidney_seg.serving_check": "check_export",
    "kidney_seg.small_run": "small_config small_run",
    "kidney_seg.watch": "show status",
    "kidney_seg.whole_volume": "predict_volume",
}


@pytest.mark.filterwarnings("ignore:.* is now .*:DeprecationWarning")
@pytest.mark.parametrize("module", DOCUMENTED)
def test_documented_names_of_0_1_import(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in DOCUMENTED[module].split() if not hasattr(found, name)] == []


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now kidney_seg.model.model_file"):
        importlib.reload(importlib.import_module("kidney_seg.modelfile"))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        importlib.import_module("kidney_seg.modelfile").nothing  # noqa: B018
