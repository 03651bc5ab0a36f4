"""Runs before main.py on every start. Nothing here may fail: the REPL must stay reachable whatever else is broken."""
