"""The training loop: settings, stages, one step after another, the guard, and populations of many points."""
