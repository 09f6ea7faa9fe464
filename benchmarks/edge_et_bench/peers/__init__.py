"""Other runtimes behind the harness's protocol: an adapter each, run by the same worker."""
