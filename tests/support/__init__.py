"""Shared by the tests: files of every format, simulated cohorts, models, processes that are killed."""
