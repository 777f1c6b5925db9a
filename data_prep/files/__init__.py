"""Files that appear whole or not at all, checksums, locks and safe names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
