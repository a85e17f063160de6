"""Many descents at once: batched as one `[K, N]` population, or sequentially."""
