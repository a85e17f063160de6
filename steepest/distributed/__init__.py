"""One run on several processes: the same weights on all of them, each with its share of every batch.

    g = Σᵣ aᵣ gᵣ / Σᵣ aᵣ        over ranks r, whose part of the batch counts aᵣ

Every number that a decision follows from is the same on all ranks, bit for bit: it is summed with the gradient, in one
reduction a step. So all ranks run the same loop and decide alike; the first one writes the record.
"""
