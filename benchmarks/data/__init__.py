"""Data timed: build, scores, growth with the number of patients."""
