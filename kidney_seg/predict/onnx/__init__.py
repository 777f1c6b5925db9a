"""The network as an ONNX graph, and ONNX Runtime as an engine."""
