"""Which scans lie in files, folders, trees of DICOM and zip files: one list for all commands that segment."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
