"""Cross-validation on single slices of real patients, arm by arm: `python -m benchmarks.real_slices DATA --out OUT`."""
