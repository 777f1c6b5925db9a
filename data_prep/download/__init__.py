"""Download a KiTS data set, whole and verified: `python -m data_prep.download` and `download_kits`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
