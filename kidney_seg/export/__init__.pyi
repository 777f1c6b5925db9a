from .exporters import export_onnx as export_onnx
from .exporters import export_saved_model as export_saved_model
from .verification import check_export as check_export
