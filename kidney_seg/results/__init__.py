"""What a batch of predictions leaves: a table and a page with pictures, made from its records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
