"""What the extractor did before, kept by content: image features, KV prefixes, extractions."""
