"""The paper's experiment on stacks of slices of patients: `python -m benchmarks.paper_on_kits STACKS --out OUT`."""
