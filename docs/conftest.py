"""pytest reads the code of the pages; the Python files beside them belong to Sphinx and are tested in tests/docs."""

collect_ignore_glob = ["*.py"]
collect_ignore = ["extension", "figures"]
