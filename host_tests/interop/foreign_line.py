"""A serial line whose meters are pymodbus's RTU server: nothing on it is ours.

In:  register values written by hand from the meters' documentation. Out: the path of a pty for the gateway, and what
     the meters' memory holds now, asked of pymodbus itself.

Two ptys back to back, as socat makes them: pymodbus opens one end as a serial device, the gateway the other one.
"""

import asyncio
import struct
import threading

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from host_tests.interop.pty_pair import PtyPair

BAUD = 115200
_START_S = 10

SDM630, WATTSON, PZEM, GENERIC = 1, 2, 3, 77  # unit ids


def _float(value):
    """IEEE 754 single precision, high word first."""
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def _low_word_first(value):
    return [value & 0xFFFF, value >> 16]


# Eastron SDM630: function 04, float32 big-endian, the address of each value in hexadecimal
# (SDM630 Modbus protocol; reference: mbmd, esphome sdm_meter, EVerest).
SDM630_VALUES = {
    0x00: 230.125, 0x02: 231.5, 0x04: 229.75,  # V, line to neutral
    0x06: 10.5, 0x08: 11.25, 0x0A: 9.125,  # A
    0x0C: 2300.5, 0x0E: -2500.25, 0x10: 2000.75,  # W
    0x12: 2416.3, 0x14: 2604.4, 0x16: 2096.5,  # VA
    0x18: 700.1, 0x1A: -720.2, 0x1C: 610.3,  # var
    0x1E: 0.952, 0x20: -0.96, 0x22: 0.954,  # power factor
    0x2A: 230.4583, 0x2E: 10.2917,  # V, A, averages
    0x30: 30.875,  # A, sum of the line currents
    0x34: 1801.0, 0x38: 7117.2, 0x3C: 590.2, 0x3E: 0.985,  # total W, VA, var, power factor
    0x46: 49.98,  # Hz
    0x48: 12345.678, 0x4A: 234.5,  # kWh import, export
    0x4C: 345.25, 0x4E: 56.75,  # kvarh import, export
    0x50: 12360.5,  # kVAh
    0xC8: 399.1, 0xCA: 400.2, 0xCC: 401.3,  # V, line to line: L1-L2, L2-L3, L3-L1
    0xCE: 400.2,  # V, average line to line
    0xE0: 1.875,  # A, neutral
    0x156: 12580.178, 0x158: 402.0,  # kWh, kvarh total
    0x15A: 4115.2, 0x15C: 4116.3, 0x15E: 4114.178,  # kWh import of each phase
    0x160: 78.1, 0x162: 78.2, 0x164: 78.2,  # kWh export of each phase
}  # fmt: skip

# Name of each point in the gateway's API: (address, factor from the meter's unit to the API's).
SDM630_POINTS = {
    "voltage_l1": (0x00, 1), "voltage_l2": (0x02, 1), "voltage_l3": (0x04, 1),
    "current_l1": (0x06, 1), "current_l2": (0x08, 1), "current_l3": (0x0A, 1),
    "active_power_l1": (0x0C, 1), "active_power_l2": (0x0E, 1), "active_power_l3": (0x10, 1),
    "apparent_power_l1": (0x12, 1), "apparent_power_l2": (0x14, 1), "apparent_power_l3": (0x16, 1),
    "reactive_power_l1": (0x18, 1), "reactive_power_l2": (0x1A, 1), "reactive_power_l3": (0x1C, 1),
    "power_factor_l1": (0x1E, 1), "power_factor_l2": (0x20, 1), "power_factor_l3": (0x22, 1),
    "voltage_ln_average": (0x2A, 1), "current_average": (0x2E, 1), "current_sum": (0x30, 1),
    "active_power": (0x34, 1), "apparent_power": (0x38, 1), "reactive_power": (0x3C, 1), "power_factor": (0x3E, 1),
    "frequency": (0x46, 1),
    "energy_import": (0x48, 1000), "energy_export": (0x4A, 1000),
    "reactive_energy_import": (0x4C, 1000), "reactive_energy_export": (0x4E, 1000),
    "apparent_energy": (0x50, 1000), "voltage_ll_average": (0xCE, 1),
    "voltage_l1_l2": (0xC8, 1), "voltage_l2_l3": (0xCA, 1), "voltage_l3_l1": (0xCC, 1),
    "current_neutral": (0xE0, 1),
    "energy_total": (0x156, 1000), "reactive_energy_total": (0x158, 1000),
    "energy_import_l1": (0x15A, 1000), "energy_import_l2": (0x15C, 1000), "energy_import_l3": (0x15E, 1000),
    "energy_export_l1": (0x160, 1000), "energy_export_l2": (0x162, 1000), "energy_export_l3": (0x164, 1000),
}  # fmt: skip

# Elkor WattsOn-Mark II: function 03, float32 big-endian; kW, kVAR, kVA, kWh
# (WattsOn-Mark II manual; reference: VOLTTRON watts_on_map.csv, equinox elkor_wattson.csv).
WATTSON_VALUES = {
    0x200: 18.75, 0x202: -3.5, 0x204: 19.0625,  # kW, kVAR, kVA total
    0x206: 277.25, 0x208: 480.5, 0x20A: 22.875,  # V L-N average, V L-L average, A average
    0x20C: 0.9836, 0x20E: 60.01,  # power factor, Hz
    0x220: 277.1, 0x222: 277.2, 0x224: 277.45,  # V of each phase
    0x226: 480.1, 0x228: 480.6, 0x22A: 480.8,  # V AB, BC, CA
    0x22C: 22.5, 0x22E: 23.0, 0x230: 23.125,  # A
    0x232: 6.2, 0x234: 6.25, 0x236: 6.3,  # kW
    0x238: -1.1, 0x23A: -1.2, 0x23C: -1.2,  # kVAR
    0x23E: 6.3, 0x240: 6.375, 0x242: 6.3875,  # kVA
    0x244: 0.984, 0x246: 0.9835, 0x248: 0.983,  # power factor
    0x1100: 98765.43,  # kWh
}  # fmt: skip
WATTSON_POINTS = {
    "active_power": (0x200, 1000), "reactive_power": (0x202, 1000), "apparent_power": (0x204, 1000),
    "voltage_ln_average": (0x206, 1), "voltage_ll_average": (0x208, 1), "current_average": (0x20A, 1),
    "power_factor": (0x20C, 1), "frequency": (0x20E, 1),
    "voltage_l1": (0x220, 1), "voltage_l2": (0x222, 1), "voltage_l3": (0x224, 1),
    "voltage_l1_l2": (0x226, 1), "voltage_l2_l3": (0x228, 1), "voltage_l3_l1": (0x22A, 1),
    "current_l1": (0x22C, 1), "current_l2": (0x22E, 1), "current_l3": (0x230, 1),
    "active_power_l1": (0x232, 1000), "active_power_l2": (0x234, 1000), "active_power_l3": (0x236, 1000),
    "reactive_power_l1": (0x238, 1000), "reactive_power_l2": (0x23A, 1000), "reactive_power_l3": (0x23C, 1000),
    "apparent_power_l1": (0x23E, 1000), "apparent_power_l2": (0x240, 1000), "apparent_power_l3": (0x242, 1000),
    "power_factor_l1": (0x244, 1), "power_factor_l2": (0x246, 1), "power_factor_l3": (0x248, 1),
    "energy_total": (0x1100, 1000),
}  # fmt: skip
WATTSON_WORD_ORDER_TEST = 0x513  # always 1234.567, no profile polls it

# PZEM-004T v3: function 04, ten registers, 32-bit values with their LOW word first
# (mandulaj/PZEM-004T-v30, esphome pzemac).
PZEM_REGISTERS = [
    2301,  # 0.1 V
    *_low_word_first(98_765),  # 0.001 A: more than one word holds
    *_low_word_first(227_258),  # 0.1 W
    *_low_word_first(1_234_567),  # Wh
    499,  # 0.1 Hz
    97,  # 0.01
    0xFFFF,  # the alarm is on
]
PZEM_POINTS = {
    "voltage_l1": 230.1,
    "current_l1": 98.765,
    "active_power": 22725.8,
    "energy_total": 1_234_567,
    "frequency": 49.9,
    "power_factor": 0.97,
    "alarm": 0xFFFF,
}
PZEM_HOLDING = [0, 2300, PZEM, 0]  # 1: power alarm in W, 2: address

# A device with everything, which the gateway's configuration does not know.
COILS = [k % 3 == 0 for k in range(64)]
DISCRETE_INPUTS = [k % 5 in (1, 2) for k in range(64)]
HOLDING = [(40_000 + 7 * k) & 0xFFFF for k in range(200)]
INPUTS = [(10_000 + 11 * k) & 0xFFFF for k in range(200)]


def float_image(values, size):
    """`size` registers from address 0 on with these floats; everything else is 0."""
    image = [0] * size
    for address, value in values.items():
        image[address : address + 2] = _float(value)
    return image


SDM630_INPUTS = float_image(SDM630_VALUES, 0x170)
WATTSON_HOLDING = float_image({**WATTSON_VALUES, WATTSON_WORD_ORDER_TEST: 1234.567}, 0x1110)


def _device(unit, coils=(False,) * 16, discrete=(False,) * 16, holding=(0,), inputs=(0,)):
    def bits(values):
        return [SimData(0, values=list(values), datatype=DataType.BITS)]

    def registers(values):
        return [SimData(0, values=list(values), datatype=DataType.REGISTERS)]

    return SimDevice(unit, simdata=(bits(coils), bits(discrete), registers(holding), registers(inputs)))


def devices():
    """The four devices, with fresh memory."""
    return [
        _device(SDM630, inputs=SDM630_INPUTS),
        _device(WATTSON, holding=WATTSON_HOLDING),
        _device(PZEM, holding=PZEM_HOLDING, inputs=PZEM_REGISTERS),
        _device(GENERIC, COILS, DISCRETE_INPUTS, HOLDING, INPUTS),
    ]


class ForeignLine:
    """pymodbus's RTU server on a line of its own, from `with` to its end.

    path      the serial device for the gateway
    requests  every request that reached the server, as (unit, function code)
    """

    def __enter__(self):
        self.requests = []
        self._pair = PtyPair()
        self._pair.__enter__()
        self.path = self._pair.b
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pymodbus", daemon=True)
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *exc):
        self._call(self._server.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pair.__exit__(*exc)

    def registers(self, unit, function, address, count):
        """What the server's memory holds; function 1 to 4 says in which table. Past the gateway."""
        return self._call(self._server.async_getValues(unit, function, address, count))

    async def _start(self):
        self._server = ModbusSerialServer(
            devices(), framer=FramerType.RTU, port=self._pair.a, baudrate=BAUD, trace_pdu=self._seen
        )
        await self._server.serve_forever(background=True)

    def _seen(self, sending, pdu):
        if not sending:
            self.requests.append((pdu.dev_id, pdu.function_code))
        return pdu

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_S)
