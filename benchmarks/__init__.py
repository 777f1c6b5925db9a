"""What the project costs and gains, measured: each module is a command, `python -m benchmarks.NAME [--quick]`."""
