"""micropython-modbus as a Modbus TCP server of 125 registers."""

# mypy: ignore-errors
import bench_place
from umodbus.tcp import ModbusTCP

_KIND = {3: "HREGS", 4: "IREGS"}[bench_place.FUNCTION]


def serve():
    server = ModbusTCP()
    server.bind(local_ip=bench_place.ADDRESS, local_port=bench_place.MODBUS)
    values = [(7 * address + 1000) & 0xFFFF for address in range(125)]
    server.setup_registers({_KIND: {"ALL": {"register": 0, "len": 125, "val": values}}})
    bench_place.started()
    if bench_place.PROBED:
        serve_probed(server, bench_place.probe_socket())
    while True:
        server.process()


def serve_probed(server, probe):
    """umodbus has a loop of its own, so there is nothing that could wait for both."""
    question = bytearray(1)
    while True:
        if probe.readinto(question):
            bench_place.answer(probe, question)
        server.process()


serve()
