"""The cache of preprocessed cases: one HDF5 file per case and a manifest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
