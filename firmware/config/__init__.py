"""The configuration: one JSON file, one set of rules (load.py), and the files that keep it (store.py)."""
