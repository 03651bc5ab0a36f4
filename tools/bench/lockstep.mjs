// node lockstep.mjs --flash FILE
//
// The RP2040 of ../emulator/machine on a clock of its own: it executes only when it is told to and up to a moment that it
// is told, sleep costs no time, and what comes from outside comes at moments of the chip's clock. So the same requests
// take the same cycles on every machine and under any load.
// In, on stdin: one JSON object a line. Out, on stdout: one JSON object for each.
//   {"run":{"until":NS,"uart0":HEX,"uart1":HEX}}   bytes begin to arrive now; executes until the chip's clock is at NS, or a
//       PPP flag went out on UART 0, or any byte on UART 1, or a reset, whatever comes first. Answers
//       {"now":NS,"cycles":N,"line":N,"uart0":HEX,"first":NS,"uart1":HEX,"baud":[N,N],"repl":TEXT,"reset":CAUSE,"swept":[[CYCLES,BLOCKS,BLOCKS],...]}
//       cycles   executed so far; a sleeping core executes none       first   when the first byte of uart0 was out
//       line     of these, within the last of the functions given by "watch"
//       swept    of each collection of the heap since the last answer: its cycles, blocks in use before and after it
//   {"watch":{"table":ADDRESS,"bytes":N,"collect":ADDRESS,"line":[ADDRESS,...]}}   where the heap's allocation table and
//       gc_collect lie, and the functions that read the line, outermost first: from now on they are followed. Answers {}
//   {"used":null}                      answers {"blocks":N}, of the heap
//   {"profile":{"probes":[[ADDRESS,NAME],...],"bytecode":ADDRESS}}   begins to count. {"profile":null} ends it and answers
//       what profile.mjs says
//   {"read":{"address":N,"bytes":N}}   memory of the chip. Answers {"hex":HEX}
// The end of stdin ends it. Exit code 3: the firmware did what cannot be carried out.

import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { Flash } from '../emulator/machine/flash.mjs';
import { Machine } from '../emulator/machine/machine.mjs';
import { Inside } from './inside.mjs';
import { Profile } from './profile.mjs';
import { romCycles } from './rom_cycles.mjs';

const CYCLE_NS = 8; // 125 MHz
const ROM_BYTES = 0x4000;
const FAULT_CODE = 3;
const PPP_FLAG = 0x7e;

const { flash } = parseArgs({ options: { flash: { type: 'string' } } }).values;
const machine = new Machine(new Flash(flash));
const { mcu } = machine;
const { core, clock } = mcu;
const sent = [[], []];
const typed = []; // output of the REPL
let first = 0;
let executed = 0; // cycles; the core's own counter has 8 more for each use of the divider, whose wait is executed too
let stop = false;
let heap = null; // {table, bytes}
let collections = null;
let lineReads = null;
let lineCycles = 0;
let swept = [];
let profile = null;

machine.onFault = (text) => {
  fs.writeSync(2, `lockstep: ${text}\n`);
  process.exit(FAULT_CODE);
};
machine.onRepl = (bytes) => typed.push(...bytes);
machine.onUart = [0, 1].map((n) => (byte) => {
  if (n === 0 && !sent[0].length) first = clock.nanos;
  sent[n].push(byte);
  stop ||= n === 1 || byte === PPP_FLAG;
});

function usedBlocks() {
  let used = 0;
  for (let at = heap.table; at < heap.table + heap.bytes; at++) {
    for (let bits = mcu.readUint8(at); bits; bits >>= 2) used += bits & 3 ? 1 : 0;
  }
  return used;
}

function watch({ table, bytes, collect, line }) {
  heap = { table, bytes };
  let begin = 0;
  let before = 0;
  collections = new Inside(
    [collect],
    () => ((begin = executed), (before = usedBlocks())),
    () => swept.push([executed - begin, before, usedBlocks()]),
  );
  lineReads = new Inside(
    line,
    () => (lineCycles -= executed),
    () => (lineCycles += executed),
  );
  return {};
}

function execute(untilNs) {
  stop = false;
  while (!stop && !machine.reset && clock.nanos < untilNs) {
    if (core.waiting) {
      const next = clock.nextAlarm ? clock.nextAlarm.nanos : Infinity;
      clock.tick(Math.max(0, Math.min(next, untilNs) - clock.nanos));
      continue;
    }
    const pc = core.PC & ~1;
    if (collections) {
      collections.look(core, pc);
      lineReads.look(core, pc);
    }
    if (profile) profile.before(core, pc);
    const rom = pc < ROM_BYTES ? romCycles(mcu, pc) : 0;
    const cycles = rom + core.executeInstruction();
    executed += cycles;
    if (profile) profile.add(pc, cycles);
    clock.tick(cycles * CYCLE_NS);
  }
}

const hex = (bytes) => Buffer.from(bytes).toString('hex');

function run({ until, uart0, uart1 }) {
  if (uart0) machine.uarts[0].input(Buffer.from(uart0, 'hex'));
  if (uart1) machine.uarts[1].input(Buffer.from(uart1, 'hex'));
  execute(until);
  const answer = {
    now: clock.nanos,
    cycles: executed,
    line: lineReads && lineReads.next === -1 ? lineCycles + executed : lineCycles,
    uart0: hex(sent[0]),
    first,
    uart1: hex(sent[1]),
    baud: machine.uarts.map((uart) => uart.baud),
    repl: Buffer.from(typed).toString('latin1'),
    reset: machine.reset,
    swept,
  };
  sent[0] = [];
  sent[1] = [];
  typed.length = 0;
  swept = [];
  return answer;
}

const commands = {
  run,
  watch,
  used: () => ({ blocks: usedBlocks() }),
  profile: (where) => {
    const ended = profile;
    profile = where && new Profile(where);
    return ended && !where ? ended.result() : {};
  },
  read: ({ address, bytes }) => ({ hex: hex(Array.from({ length: bytes }, (_, n) => mcu.readUint8(address + n))) }),
};

function* lines() {
  const piece = Buffer.alloc(65536);
  let text = '';
  for (let n = fs.readSync(0, piece); n; n = fs.readSync(0, piece)) {
    text += piece.toString('latin1', 0, n);
    const whole = text.split('\n');
    text = whole.pop();
    yield* whole;
  }
}

for (const line of lines()) {
  const [[name, argument]] = Object.entries(JSON.parse(line));
  const answer = Buffer.from(JSON.stringify(commands[name](argument)) + '\n');
  for (let at = 0; at < answer.length; ) at += fs.writeSync(1, answer, at);
}
