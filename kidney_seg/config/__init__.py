"""The settings: frozen dataclasses that check themselves, presets, and `--set`."""
