"""A page on one's own computer: drop a scan, see kidneys and tumors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
