"""Export a trained model as a SavedModel for TF Serving or as one ONNX file."""
