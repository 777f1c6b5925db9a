"""Progressive training (paper, Figure 2): rounds of `fit()`, each warm-started and validated."""
