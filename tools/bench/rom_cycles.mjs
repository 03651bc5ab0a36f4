// What the boot ROM's routines cost. The emulator's ROM carries each of them out in one step (../emulator/machine/bootrom.mjs),
// so their time is added here: counted along the listing of the RP2040's ROM for copying and filling, the average of the
// datasheet's table (2.8.3) for bits, and one figure for all of floating point, whose averages lie around it.
// In: the chip and the address of the routine, before it is executed. Out: cycles.

const FUNCTION_TABLE = 0x14; // 16-bit pointers: RP2040 datasheet 2.8.3
const DATA_TABLE = 0x16;
const FLOAT_CYCLES = 60;
const BIT_CYCLES = 15;
const CALL_CYCLES = 12; // around the loops of copying and filling
const SHORT = 8; // bytes; fewer are moved one by one

const code = (text) => text.charCodeAt(0) | (text.charCodeAt(1) << 8);

const bytewise = (each) => (count) => CALL_CYCLES + each * count;
const wordwise = (count) => 2 * CALL_CYCLES + Math.ceil((13 * count) / 16); // 16 bytes in 13 cycles

function copy(registers) {
  const [to, from, count] = registers;
  if (count < SHORT) return bytewise(4)(count);
  return (to - from) & 3 ? bytewise(7)(count) : wordwise(count);
}

function fill(registers) {
  const count = registers[2];
  return count < SHORT ? bytewise(2)(count) : 2 * CALL_CYCLES + Math.ceil(count / 2);
}

const ROUTINES = { MC: copy, C4: copy, MS: fill, S4: fill };
for (const name of ['P3', 'R3', 'L3', 'T3']) ROUTINES[name] = () => BIT_CYCLES;

function* pairs(mcu, address) {
  for (; mcu.readUint16(address); address += 4) yield [mcu.readUint16(address), mcu.readUint16(address + 2)];
}

function costs(mcu) {
  const found = new Map();
  const wanted = new Map(Object.entries(ROUTINES).map(([name, cost]) => [code(name), cost]));
  for (const [name, address] of pairs(mcu, mcu.readUint16(FUNCTION_TABLE))) {
    if (wanted.has(name)) found.set(address & ~1, wanted.get(name));
  }
  for (const [name, table] of pairs(mcu, mcu.readUint16(DATA_TABLE))) {
    if (name !== code('SF') && name !== code('SD')) continue;
    const length = mcu.readUint8(table - 2);
    for (let n = 0; n < length; n++) found.set(mcu.readUint32(table + 4 * n) & ~1, () => FLOAT_CYCLES);
  }
  return found;
}

let table = null;

/** Cycles of the routine at `pc` beyond the one instruction that stands for it; 0 where there is none. */
export function romCycles(mcu, pc) {
  table ??= costs(mcu);
  const cost = table.get(pc);
  return cost ? cost(mcu.core.registers) : 0;
}
