"""The stored state of a guard: its keys, which are part of the format, and the attributes that they hold."""

PARTS = {
    "_norms": "_norms", "_losses": "_losses", "_backoff": "_backoff", "_pace": "_jumps", "levels": "_levels",
}  # fmt: skip
NUMBERS = {
    "_scale": "_asinh_scale", "_seen": "_step", "_sum": "_cusum", "_bad": "_non_finite_steps", "mean": "_mean",
    "_best": "_best_mean", "_last_alarm": "_last_alarm", "_expected": "_learning_until", "_began": "_initial_mean",
    "_verdict": "_probation_end", "rewinds": "rewinds", "_fruitless": "_failed_rewinds", "_record": "_lowest_mean",
    "_failing": "_failed_jump", "aside": "_is_aside",
}  # fmt: skip
"""Keys of the stored state, which are part of the format, and the attributes that they hold."""
LATER_KEYS = {"levels", "aside"}
"""Keys that states of Steepest 0.1 lack: these begin afresh."""
REWIND_KEEPS = {"aside", "rewinds", "_fruitless", "_record", "_backoff", "_failing"}
"""What a rewind must not forget: earlier rewinds, and the state of the learning rate."""
