// A stand-in for the RP2040's boot ROM, which is not ours to ship: every routine is "bkpt n; bx lr", and the breakpoint
// runs JavaScript. In: the chip and its flash. Out: a ROM with the tables of the RP2040 datasheet 2.8.3 (functions) and
// of the pico-sdk's bootrom headers (soft float). Flash is erased and programmed through the Flash object, which keeps it.

const ROM_BYTES = 16384;
const CODE_AT = 0x100; // routines
const TABLES_AT = 0x1000;
const BKPT = 0xbe00;
const BX_LR = 0x4770;
const BRANCH_TO_SELF = 0xe7fe;
const THUMB = 1;
const XIP_BASE = 0x10000000;
const ROM_VERSION = 3; // of the chip's revision B2
const DOUBLE_ENTRIES = 32;
const INT64 = [-(2n ** 63n), 2n ** 63n - 1n];
const UINT64 = [0n, 2n ** 64n - 1n];

const code = (text) => text.charCodeAt(0) | (text.charCodeAt(1) << 8);

/** Loads the ROM into `mcu`. `onFault(text)` is called for what cannot be carried out. */
export function install(mcu, flash, onFault) {
  const core = mcu.core;
  const R = core.registers;
  const rom = new DataView(new ArrayBuffer(ROM_BYTES));
  const routines = [];
  let at = CODE_AT;

  const routine = (run) => {
    const address = at;
    rom.setUint16(at, BKPT | routines.length, true);
    rom.setUint16(at + 2, BX_LR, true);
    at += 4;
    routines.push(run);
    return address | THUMB;
  };

  // Values in registers
  const scratch = new DataView(new ArrayBuffer(8));
  const toFloat = (bits) => (scratch.setUint32(0, bits, true), scratch.getFloat32(0, true));
  const fromFloat = (value) => (scratch.setFloat32(0, value, true), scratch.getUint32(0, true));
  const float = (n) => toFloat(R[n]);
  const double = (n) => {
    scratch.setUint32(0, R[n], true);
    scratch.setUint32(4, R[n + 1], true);
    return scratch.getFloat64(0, true);
  };
  const setDouble = (value) => {
    scratch.setFloat64(0, value, true);
    R[0] = scratch.getUint32(0, true);
    R[1] = scratch.getUint32(4, true);
  };
  const int64 = () => (BigInt(R[1] | 0) << 32n) | BigInt(R[0]);
  const uint64 = () => (BigInt(R[1]) << 32n) | BigInt(R[0]);
  const set64 = (value) => {
    const bits = BigInt.asUintN(64, value);
    R[0] = Number(bits & 0xffffffffn);
    R[1] = Number(bits >> 32n);
  };
  const clamp = (value, low, high) => (Number.isNaN(value) ? 0 : Math.max(low, Math.min(high, Math.floor(value))));
  const toInt = (value) => (R[0] = clamp(value, -(2 ** 31), 2 ** 31 - 1) >>> 0);
  const toUint = (value) => (R[0] = clamp(value, 0, 2 ** 32 - 1));
  const to64 = (value, [low, high]) => {
    if (Number.isNaN(value)) set64(0n);
    else if (value >= Number(high)) set64(high);
    else if (value <= Number(low)) set64(low);
    else set64(BigInt(Math.floor(value)));
  };
  const setFlags = (a, b) => {
    core.N = a < b;
    core.Z = a === b;
    core.C = !(a < b);
    core.V = false;
  };

  // Bits and memory
  const reverse = () => {
    let from = R[0];
    let to = 0;
    for (let n = 0; n < 32; n++, from >>>= 1) to = (to << 1) | (from & 1);
    R[0] = to >>> 0;
  };
  const count = () => {
    let bits = 0;
    for (let rest = R[0]; rest; rest >>>= 1) bits += rest & 1;
    R[0] = bits;
  };
  const copy = () => {
    for (let n = 0; n < R[2]; n++) mcu.writeUint8((R[0] + n) >>> 0, mcu.readUint8((R[1] + n) >>> 0));
  };
  const fill = () => {
    for (let n = 0; n < R[2]; n++) mcu.writeUint8((R[0] + n) >>> 0, R[1] & 0xff);
  };
  const program = () => {
    const data = new Uint8Array(R[2]);
    for (let n = 0; n < data.length; n++) data[n] = mcu.readUint8((R[1] + n) >>> 0);
    flash.program(R[0], data);
  };
  const nothing = () => {}; // the flash is always connected, and has no cache
  const functions = {
    P3: count,
    R3: reverse,
    L3: () => (R[0] = Math.clz32(R[0])),
    T3: () => (R[0] = R[0] ? 31 - Math.clz32(R[0] & -R[0]) : 32),
    MS: fill,
    S4: fill,
    MC: copy,
    C4: copy,
    UB: () => onFault('the firmware asked for the USB boot loader, which is not here'),
    IF: nothing,
    EX: nothing,
    FC: nothing,
    CX: nothing,
    RE: () => flash.erase(R[0], R[1]),
    RP: program,
  };
  const functionList = Object.entries(functions).map(([name, run]) => [code(name), routine(run)]);

  const float1 = (f) => routine(() => (R[0] = fromFloat(f(float(0)))));
  const float2 = (f) => routine(() => (R[0] = fromFloat(f(float(0), float(1)))));
  const compare = () => (R[0] = (float(0) < float(1) ? -1 : float(0) > float(1) ? 1 : 0) >>> 0);
  const sincos = () => {
    const angle = float(0);
    R[0] = fromFloat(Math.sin(angle));
    R[1] = fromFloat(Math.cos(angle));
  };
  // In the order of pico/bootrom/sf_table.h
  const floats = [
    float2((a, b) => a + b),
    float2((a, b) => a - b),
    float2((a, b) => a * b),
    float2((a, b) => a / b),
    routine(compare),
    routine(() => setFlags(float(0), float(1))),
    float1(Math.sqrt),
    routine(() => toInt(float(0))),
    routine(() => toInt(float(0) * 2 ** R[1])),
    routine(() => toUint(float(0))),
    routine(() => toUint(float(0) * 2 ** R[1])),
    routine(() => (R[0] = fromFloat(R[0] | 0))),
    routine(() => (R[0] = fromFloat((R[0] | 0) / 2 ** R[1]))),
    routine(() => (R[0] = fromFloat(R[0]))),
    routine(() => (R[0] = fromFloat(R[0] / 2 ** R[1]))),
    float1(Math.cos),
    float1(Math.sin),
    float1(Math.tan),
    routine(sincos),
    float1(Math.exp),
    float1(Math.log),
    routine(compare),
    float2(Math.atan2),
    routine(() => (R[0] = fromFloat(Number(int64())))),
    routine(() => (R[0] = fromFloat(Number(int64()) / 2 ** R[2]))),
    routine(() => (R[0] = fromFloat(Number(uint64())))),
    routine(() => (R[0] = fromFloat(Number(uint64()) / 2 ** R[2]))),
    routine(() => to64(float(0), INT64)),
    routine(() => to64(float(0) * 2 ** R[1], INT64)),
    routine(() => to64(float(0), UINT64)),
    routine(() => to64(float(0) * 2 ** R[1], UINT64)),
    routine(() => setDouble(float(0))),
  ];
  const double1 = (f) => routine(() => setDouble(f(double(0))));
  const double2 = (f) => routine(() => setDouble(f(double(0), double(2))));
  const missing = routine(() => onFault('a double routine that this boot ROM does not have'));
  const doubles = [
    double2((a, b) => a + b),
    double2((a, b) => a - b),
    double2((a, b) => a * b),
    double2((a, b) => a / b),
    missing,
    routine(() => setFlags(double(0), double(2))),
    double1(Math.sqrt),
  ];
  while (doubles.length < DOUBLE_ENTRIES) doubles.push(missing); // MicroPython uses single precision

  const lookup = routine(() => {
    const wanted = R[1] & 0xffff;
    let entry = R[0];
    while (mcu.readUint16(entry) && mcu.readUint16(entry) !== wanted) entry += 4;
    R[0] = mcu.readUint16(entry) ? mcu.readUint16(entry + 2) : 0;
  });

  at = TABLES_AT;
  const words = (list) => {
    at += 8;
    rom.setUint8(at - 2, list.length); // the SDK reads the length two bytes before the table
    const address = at;
    for (const word of list) {
      rom.setUint32(at, word, true);
      at += 4;
    }
    return address;
  };
  const pairs = (list) => {
    const address = at;
    for (const [key, value] of [...list, [0, 0]]) {
      rom.setUint16(at, key, true);
      rom.setUint16(at + 2, value, true);
      at += 4;
    }
    return address;
  };
  const revision = words([0x53545542]);
  const data = [
    ['SF', words(floats)],
    ['SD', words(doubles)],
    ['GR', revision],
    ['CR', revision],
  ];
  rom.setUint8(0x10, 'M'.charCodeAt(0));
  rom.setUint8(0x11, 'u'.charCodeAt(0));
  rom.setUint8(0x12, 1);
  rom.setUint8(0x13, ROM_VERSION);
  rom.setUint16(0x14, pairs(functionList), true);
  rom.setUint16(0x16, pairs(data.map(([name, address]) => [code(name), address])), true);
  rom.setUint16(0x18, lookup, true);
  // The vectors of a reset and of faults before the firmware has its own
  rom.setUint16(0x80, BKPT | 0xff, true);
  rom.setUint16(0x82, BRANCH_TO_SELF, true);
  rom.setUint32(0, 0x20041f00, true);
  for (const vector of [4, 8, 12]) rom.setUint32(vector, 0x80 | THUMB, true);

  mcu.loadBootrom(new Uint32Array(rom.buffer));
  mcu.onBreak = (number) => {
    if (core.PC < ROM_BYTES && routines[number]) {
      routines[number]();
      core.breakRewind = 0;
    } else {
      const hex = (value) => '0x' + value.toString(16);
      onFault(`breakpoint ${number} at ${hex(core.PC)}, called from ${hex(core.LR)}: a fault or a panic`);
    }
  };
  core.PC = XIP_BASE;
}
