"""Benchmarks of curvature, verdicts, edges of stability and stages."""
