"""Paint a simulated patient: organs, kidneys, tumors, and the scanner that images them."""
