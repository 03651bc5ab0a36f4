// The RP2040's watchdog (datasheet 4.7) on the chip's clock. It replaces rp2040js's, which does not bite at its time-out.
// Out: onBite('software' | 'watchdog'): the chip is to be reset. `reason` and `scratch` outlive that.

import { BasePeripheral } from './rp2040js.mjs';

const CTRL = 0x00;
const LOAD = 0x04;
const REASON = 0x08;
const SCRATCH0 = 0x0c;
const SCRATCH7 = 0x28;
const TICK = 0x2c;
const CTRL_TRIGGER = 1 << 31;
const CTRL_ENABLE = 1 << 30;
const TIME_MASK = 0xffffff;
const REASON_TIMER = 1;
const REASON_FORCE = 2;
const TICK_ENABLE = 1 << 9;
const TICK_RUNNING = 1 << 10;
const COUNT_NS = 500; // a tick of 1 us counts twice: erratum RP2040-E1

export class Watchdog extends BasePeripheral {
  constructor(mcu, name) {
    super(mcu, name);
    this.onBite = () => {};
    this.reason = 0;
    this.scratch = new Uint32Array(8);
    this.control = 0;
    this.tick = TICK_ENABLE;
    this.load = 0;
    this.endNs = null; // when it bites; null while it does not run
    this.alarm = mcu.clock.createAlarm(() => this.#bite(REASON_TIMER, 'watchdog'));
  }

  get #left() {
    return this.endNs === null ? this.load : Math.max(0, Math.round((this.endNs - this.rp2040.clock.nanos) / COUNT_NS));
  }

  #bite(reason, cause) {
    this.reason = reason;
    this.onBite(cause);
  }

  /** Runs from `count` on, or stands at it. */
  #restart(count) {
    this.alarm.cancel();
    this.load = count;
    this.endNs = null;
    if (this.control & CTRL_ENABLE && this.tick & TICK_ENABLE) {
      this.endNs = this.rp2040.clock.nanos + count * COUNT_NS;
      this.alarm.schedule(count * COUNT_NS);
    }
  }

  readUint32(offset) {
    if (offset >= SCRATCH0 && offset <= SCRATCH7) return this.scratch[(offset - SCRATCH0) >> 2];
    switch (offset) {
      case CTRL:
        return (this.control | (this.#left & TIME_MASK)) >>> 0;
      case REASON:
        return this.reason;
      case TICK:
        return this.tick & TICK_ENABLE ? this.tick | TICK_RUNNING : this.tick;
    }
    return super.readUint32(offset);
  }

  writeUint32(offset, value) {
    if (offset >= SCRATCH0 && offset <= SCRATCH7) {
      this.scratch[(offset - SCRATCH0) >> 2] = value;
      return;
    }
    const left = this.#left;
    switch (offset) {
      case CTRL:
        this.control = value & ~TIME_MASK & ~CTRL_TRIGGER;
        this.#restart(left);
        if (value & CTRL_TRIGGER) this.#bite(REASON_FORCE, 'software');
        break;
      case LOAD:
        this.#restart(value & TIME_MASK);
        break;
      case TICK:
        this.tick = value;
        this.#restart(left);
        break;
      default:
        super.writeUint32(offset, value);
    }
  }
}
