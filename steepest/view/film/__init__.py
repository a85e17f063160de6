"""The film of a run: one offline page, its schema, its frames, and the other formats it is written in."""
