"""Host tools of meterport; run them as `python -m tools.NAME` or through the Makefile."""
