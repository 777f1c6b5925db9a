"""What the tests of the commands share."""

from __future__ import annotations

HEAVY = (
    *("tensorflow", "keras", "SimpleITK", "h5py", "scipy", "matplotlib", "onnx", "onnxruntime", "pydicom", "tqdm"),
    *("importlib.metadata", "email", "concurrent.futures.process", "http.client"),  # of Python itself, the slowest
)
