"""The cache of preprocessed cases: one HDF5 file per case and a manifest."""
