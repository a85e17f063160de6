"""The release, as its users get it: what is built, installed and run outside of the checkout (`make release`)."""
