"""Divide patients into training, validation and test set, or into folds."""
