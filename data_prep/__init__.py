"""CT folders in, checked HDF5 caches of axial slices out. Knows files and geometry; never imports TensorFlow."""

import lazy_loader

from data_prep.old_names import redirect

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from data_prep.version import code_version

        return code_version()
    return _public(name)


redirect(
    {
        "data_prep.command": ("data_prep.errors", "data_prep.cli"),
        "data_prep.dicom_seg": ("data_prep.dicom.seg_writer", "data_prep.dicom.seg_reader"),
        "data_prep.phantom_cohort": ("data_prep.phantom.cohort",),
        "data_prep.phantom_patient": ("data_prep.phantom.patient",),
    }
)
