"""pymodbus on CPython as a Modbus TCP server of 125 holding registers.

python -m tools.bench.pymodbus_server MODBUS_PORT
"""

import asyncio
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def serve(port: int) -> None:
    """Never returns."""
    values = [(7 * address + 1000) & 0xFFFF for address in range(125)]
    device = SimDevice(1, [SimData(0, values=values, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
