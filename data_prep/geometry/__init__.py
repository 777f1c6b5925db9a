"""Grids in millimeters, axes, resampling and connected components."""
