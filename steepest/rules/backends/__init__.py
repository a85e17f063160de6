"""Backends: run a traced formula with torch, as CPU machine code, through torch.compile, or in the web page."""
