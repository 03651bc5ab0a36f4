// Where cycles go: by address, and by what called what.
//
// In:  before(core, pc) and add(pc, cycles) for every instruction.
// Out: result(): {"flat":[[PC,CYCLES],...], "calls":[[CODE,PROBE,CYCLES],...], "entered":[[CODE,CONTEXT,TIMES],...]}
// A probe is a function of the firmware: the innermost that is under way counts, interrupts are probes "irq N". CODE is the
// address of the innermost bytecode under way, 0 for none, CONTEXT that of its module. (py/objfun.h of MicroPython 1.25)

const FLASH_AT = 0x10000000;
const RAM_AT = 0x20000000;
const FLASH_SLOTS = (1400 * 1024) / 2; // a slot is an instruction of 2 bytes; the program fits into 1400 KiB
const RAM_SLOTS = (264 * 1024) / 2;
const ROM_SLOTS = 0x4000 / 2;
const DEPTH_MAX = 1000;
const CONTEXT = 4; // in a function object
const CODE = 12;

const slot = (pc) =>
  pc >= RAM_AT ? (pc - RAM_AT) / 2 : RAM_SLOTS + (pc >= FLASH_AT ? (pc - FLASH_AT) / 2 : FLASH_SLOTS + pc / 2);

function address(slot) {
  if (slot < RAM_SLOTS) return RAM_AT + 2 * slot;
  if (slot < RAM_SLOTS + FLASH_SLOTS) return FLASH_AT + 2 * (slot - RAM_SLOTS);
  return 2 * (slot - RAM_SLOTS - FLASH_SLOTS);
}

export class Profile {
  /** probes: [[address, name]]; bytecode: the address of the function that executes bytecode. */
  constructor({ probes, bytecode }) {
    this.flat = new Float64Array(RAM_SLOTS + FLASH_SLOTS + ROM_SLOTS);
    this.probes = new Map(probes.map(([pc, name]) => [pc & ~1, name]));
    this.entrances = new Uint8Array(this.flat.length);
    for (const pc of [...this.probes.keys(), bytecode & ~1]) this.entrances[slot(pc)] = 1;
    this.bytecode = bytecode & ~1;
    this.calls = new Map();
    this.entered = new Map();
    this.stack = []; // {back, sp, code, probe}: where and to what it returns
    this.interrupt = 0;
    this.code = 0;
    this.probe = '';
    this.counter = this.#counter();
  }

  #counter() {
    const key = `${this.code} ${this.probe}`;
    let counter = this.calls.get(key);
    if (!counter) this.calls.set(key, (counter = { code: this.code, probe: this.probe, cycles: 0 }));
    return counter;
  }

  #enter(back, sp, code, probe) {
    if (this.stack.length >= DEPTH_MAX) throw new RangeError('profile: calls nest too deep');
    this.stack.push({ back, sp, code: this.code, probe: this.probe });
    this.code = code;
    this.probe = probe;
    this.counter = this.#counter();
  }

  before(core, pc) {
    const sp = core.SP;
    const { stack } = this;
    // Above its frame a call is over, however it ended: MicroPython's exceptions jump.
    for (let top = stack.at(-1); top && (sp > top.sp || (sp === top.sp && pc === top.back)); top = stack.at(-1)) {
      stack.pop();
      this.code = top.code;
      this.probe = top.probe;
      this.counter = this.#counter();
    }
    if (core.IPSR !== this.interrupt) {
      this.interrupt = core.IPSR;
      // Back in an outer handler nothing is entered; its frame is still there.
      if (core.IPSR && !stack.some(({ back }) => back === -core.IPSR)) this.#enter(-core.IPSR, sp, 0, `irq ${core.IPSR}`);
    }
    if (!this.entrances[slot(pc)]) return;
    if (pc === this.bytecode) {
      const fun = core.rp2040.readUint32(core.registers[0]); // mp_code_state_t begins with its function
      const code = core.rp2040.readUint32(fun + CODE);
      const known = this.entered.get(code);
      if (known) known.times++;
      else this.entered.set(code, { context: core.rp2040.readUint32(fun + CONTEXT), times: 1 });
      this.#enter(core.LR & ~1, sp, code, '');
    } else {
      this.#enter(core.LR & ~1, sp, this.code, this.probes.get(pc));
    }
  }

  add(pc, cycles) {
    this.flat[slot(pc)] += cycles;
    this.counter.cycles += cycles;
  }

  result() {
    const flat = [];
    this.flat.forEach((cycles, at) => cycles && flat.push([address(at), cycles]));
    return {
      flat,
      calls: [...this.calls.values()].map(({ code, probe, cycles }) => [code, probe, cycles]),
      entered: [...this.entered].map(([code, { context, times }]) => [code, context, times]),
    };
  }
}
