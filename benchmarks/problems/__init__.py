"""Problems and networks that several benchmarks share."""
