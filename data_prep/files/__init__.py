"""Files that appear whole or not at all, checksums, locks and safe names."""
