"""Kidney and kidney-tumor segmentation in CT: enhanced attention U-Net, Focal Tversky Loss, progressive training."""

import os
import platform
from pathlib import Path

import lazy_loader

from data_prep.old_names import redirect
from kidney_seg.matplotlib_folder import keep_matplotlib_out_of_home

# Before any library loads: ONNX Runtime 1.29 and later sends usage data and writes an identifier to the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow alone uses oneDNN's kernels on some processors only. With AVX2 they train small networks up to twice as
    # fast (docs/explanation/speed.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if not Path(os.path.expanduser("~/.keras/keras.json")).exists():
    os.environ.setdefault("KERAS_HOME", os.devnull)  # else Keras writes its defaults there
keep_matplotlib_out_of_home()

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from data_prep.version import code_version

        return code_version()
    return _public(name)


redirect(
    {
        "kidney_seg.attention": ("kidney_seg.model.attention_maps",),
        "kidney_seg.final": ("kidney_seg.evaluate.tables",),
        "kidney_seg.intervals": ("kidney_seg.metrics.statistics",),
        "kidney_seg.loss_view": ("kidney_seg.losses.curves",),
        "kidney_seg.model_view": ("kidney_seg.model.overview",),
        "kidney_seg.modelfile": ("kidney_seg.model.model_file",),
        "kidney_seg.notebook": ("kidney_seg.figures.notebook",),
        "kidney_seg.predictor": ("kidney_seg.predict.predictor", "kidney_seg.predict.averaging"),
        "kidney_seg.quiet": ("kidney_seg.tensorflow_log",),
        "kidney_seg.report_data": ("kidney_seg.report.sources", "kidney_seg.report.data"),
        "kidney_seg.review": ("kidney_seg.postprocess.review",),
        "kidney_seg.score_figures": ("kidney_seg.figures.score_plots",),
        "kidney_seg.sections": ("kidney_seg.config",),
        "kidney_seg.serving_check": ("kidney_seg.export.verification",),
        "kidney_seg.small_run": ("kidney_seg.progressive.small_run",),
        "kidney_seg.whole_volume": ("kidney_seg.predict.predictor",),
    }
)
