from .reader import DicomSeries as DicomSeries
from .reader import open_series as open_series
from .seg_reader import read_dicom_seg as read_dicom_seg
from .seg_writer import write_dicom_seg as write_dicom_seg
from .series import list_series as list_series
