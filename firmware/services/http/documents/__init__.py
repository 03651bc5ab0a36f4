"""What GET gives of the device: one module for each subject; docs/reference/http.md has every field.

A document is a generator that writes to the service's sink, a piece at a time (response.py). Between two pieces others
run; each object in it is one piece and so is consistent in itself.
"""
