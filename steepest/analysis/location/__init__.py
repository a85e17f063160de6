"""Where a run ended: minimum, saddle, noise floor, edge of stability, or still descending."""
