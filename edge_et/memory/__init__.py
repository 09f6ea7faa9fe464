"""Memory: what a pair needs, how it keeps to a budget, and what the process really holds."""
