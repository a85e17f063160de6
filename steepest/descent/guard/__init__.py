"""The guard: detects when the loss explodes, lowers the learning rate or rewinds to a snapshot."""
