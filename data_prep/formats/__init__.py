"""Image formats, one per module: from bytes to voxels and their grid."""
