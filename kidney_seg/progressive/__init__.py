"""Progressive training (paper, Figure 2): rounds of `fit()`, each warm-started and validated."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
