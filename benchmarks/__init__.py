"""Measurements of speed, memory and accuracy; see docs."""
