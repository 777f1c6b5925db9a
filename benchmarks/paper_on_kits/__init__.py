"""The paper's experiment on runs of slices of real patients: `python -m benchmarks.paper_on_kits RUNS --out OUT`."""
