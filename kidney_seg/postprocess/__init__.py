"""Remove objects far from both kidneys; measure what remains."""
