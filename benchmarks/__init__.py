"""What the project costs and gains, measured: `python -m benchmarks`, and the commands that its `--help` names."""
