"""Training timed: a step, its input, a whole training, the demo."""
