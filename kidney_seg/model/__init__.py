"""The enhanced attention U-Net of the paper, its file, and what it attends to."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
