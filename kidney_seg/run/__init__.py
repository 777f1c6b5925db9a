"""The run folder: its files, journal, checkpoints and recipe."""
