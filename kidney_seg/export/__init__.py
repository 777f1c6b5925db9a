"""Export a trained model as a SavedModel for TF Serving or as one ONNX file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
