"""The configuration: one JSON file, one set of rules (load.py, validate), and the files that keep it (store.py)."""
