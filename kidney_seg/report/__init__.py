"""One HTML page about a run or an evaluation."""
