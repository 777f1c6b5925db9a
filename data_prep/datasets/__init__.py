"""Which files belong to which case: KiTS layouts, patterns, metadata, pseudonyms."""
