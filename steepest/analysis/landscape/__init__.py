"""The loss on planes through weight space, with a stated error."""
