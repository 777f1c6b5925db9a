"""The table and the page with pictures that `predict` writes for a folder of predictions, made from their records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
