from .config.run_config import Config as Config
from .evaluate.folders import evaluate_folders as evaluate_folders
from .export.exporters import export_onnx as export_onnx
from .export.exporters import export_saved_model as export_saved_model
from .model.attention_unet import build_model as build_model
from .model.model_file import load_model as load_model
from .postprocess.distant_objects import remove_distant_objects as remove_distant_objects
from .predict.scans import predict_scan as predict_scan
from .progressive.driver import train as train
from .segmentation import segment as segment

__version__: str
