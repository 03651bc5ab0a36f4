"""The command line `meterport`: one gateway or a fleet, over HTTP, Modbus TCP and the finder. docs/cli.md."""
