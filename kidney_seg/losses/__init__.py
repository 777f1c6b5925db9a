"""Focal Tversky Loss and the losses that it is compared with.

To add a loss: its formula in `functional.py`, its Keras class in `keras_losses.py`, its name in `config/loss.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
