"""Judge a model on whole scans: `python -m benchmarks.whole_scans FOLDER --model MODEL`."""
