"""Many descents of one task: learning-rate search, races, and their statistics."""
