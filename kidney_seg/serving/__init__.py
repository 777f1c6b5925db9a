"""Segment scans with a served model."""
