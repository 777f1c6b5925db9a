"""DICOM series in, DICOM Segmentations in and out."""
