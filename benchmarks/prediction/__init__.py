"""Prediction timed: the network, and whole volumes."""
