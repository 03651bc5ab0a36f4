"""pymodbus on CPython as a gateway: a Modbus TCP server that asks a meter on a serial line for each read.

python -m tools.bench.pymodbus_gateway MODBUS_PORT SERIAL_DEVICE BAUD UNIT
"""

import asyncio
import sys

from pymodbus.client import AsyncModbusSerialClient
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

_REGISTERS = 125


async def serve(port: int, device: str, baud: int, unit: int) -> None:
    """Never returns."""
    client = AsyncModbusSerialClient(device, baudrate=baud, timeout=1, retries=0)
    line = asyncio.Lock()  # one request at a time

    async def ask(
        function: int, start: int, address: int, count: int, registers: list[int], values: object
    ) -> ExcCodes | None:
        async with line:
            answer = await client.read_holding_registers(address, count=count, device_id=unit)
        if answer.isError():
            return ExcCodes.GATEWAY_NO_RESPONSE
        registers[address - start : address - start + count] = answer.registers
        return None

    await client.connect()
    block = [SimData(0, values=[0] * _REGISTERS, datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(SimDevice(unit, block, action=ask), address=("127.0.0.1", port))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
