"""micropython-modbus as a Modbus TCP server of 125 input registers."""

# mypy: ignore-errors
import gc

import bench_link
from umodbus.tcp import ModbusTCP


def serve():
    bench_link.up()
    server = ModbusTCP()
    server.bind(local_ip="0.0.0.0", local_port=502)
    values = [(7 * address + 1000) & 0xFFFF for address in range(125)]
    server.setup_registers({"IREGS": {"ALL": {"register": 0, "len": 125, "val": values}}})
    gc.collect()
    print("ready")
    while True:
        server.process()


serve()
