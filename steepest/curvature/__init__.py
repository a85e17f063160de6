"""The loss as a function of all weights: its values, gradient noise, Hessian products and extreme eigenvalues."""
