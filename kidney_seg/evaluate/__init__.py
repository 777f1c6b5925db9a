"""Score label files against the truth: Table 1."""
