"""Run tasks in processes, on a Dask cluster, or in shards of a job array."""
