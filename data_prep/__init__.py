"""CT folders in, checked HDF5 caches of axial slices out. Knows files and geometry; never imports TensorFlow."""
