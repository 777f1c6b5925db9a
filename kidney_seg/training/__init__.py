"""Train one round: one `fit()`, on one or several devices or hosts."""
