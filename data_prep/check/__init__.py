"""Check a folder of cases, or a cache, for problems."""
