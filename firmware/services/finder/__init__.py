"""Finder: finder.py, by which gateways are found on the local network."""
