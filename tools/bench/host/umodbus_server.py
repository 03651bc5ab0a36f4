"""micropython-modbus as a Modbus TCP server of 125 holding registers."""

# mypy: ignore-errors
import bench_host
from umodbus.tcp import ModbusTCP


def serve():
    server = ModbusTCP()
    server.bind(local_ip="127.0.0.1", local_port=bench_host.MODBUS)
    values = [(7 * address + 1000) & 0xFFFF for address in range(125)]
    server.setup_registers({"HREGS": {"ALL": {"register": 0, "len": 125, "val": values}}})
    bench_host.started()
    if bench_host.PROBED:
        serve_probed(server, bench_host.probe_socket())
    while True:
        server.process()


def serve_probed(server, probe):
    """umodbus has a loop of its own, so there is nothing that could wait for both."""
    question = bytearray(1)
    while True:
        if probe.readinto(question):
            bench_host.answer(probe, question)
        server.process()


serve()
