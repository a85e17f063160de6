"""Healthy trainings of many kinds, in which losses and gradients do what the guard could take for a fault.

    training.py   a training, its kinds and their groups
    losses.py     losses that are often 0, below 0, heavy-tailed, or sums of several
    data.py       data that change, are rare, wrong, ordered or drawn by the model itself
    changes.py    schedules, models and optimizers that change on the way

Thresholds of the guard are chosen on the kinds of one group and reported on the other.
"""
