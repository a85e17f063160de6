"""A run: train, store, resume, compare, film and serve it."""
