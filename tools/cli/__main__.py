"""Entry of tools/meterport and of `python -m tools.cli`."""

from tools.cli.commands import meterport

meterport(prog_name="meterport")
