"""Scores of masks: numpy in, numbers out."""
