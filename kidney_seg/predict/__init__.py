"""Segment scans: from slices to volumes to label files."""
