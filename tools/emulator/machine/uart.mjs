// A PL011 UART (ARM DDI 0183, RP2040 datasheet 4.2) on the chip's clock: FIFOs, baud rate, and the transmit, receive and
// receive time-out interrupts. It replaces rp2040js's, which has neither pace nor time-out interrupt.
//
// In:  bytes from outside by input(); each arrives when its last bit would.
// Out: onByte(byte) for each byte sent, when its last bit would be out.
// `lossless` keeps what finds no room until there is some (a line with flow control); otherwise it is lost, as on a wire.

import { BasePeripheral } from './rp2040js.mjs';

const DR = 0x00;
const FR = 0x18;
const IBRD = 0x24;
const FBRD = 0x28;
const LCR_H = 0x2c;
const CR = 0x30;
const IFLS = 0x34;
const IMSC = 0x38;
const RIS = 0x3c;
const MIS = 0x40;
const ICR = 0x44;
const DMACR = 0x48;
const IDENTITY = { 0xfe0: 0x11, 0xfe4: 0x10, 0xfe8: 0x34, 0xfec: 0, 0xff0: 0x0d, 0xff4: 0xf0, 0xff8: 5, 0xffc: 0xb1 };

const FR_TXFE = 0x80;
const FR_RXFF = 0x40;
const FR_TXFF = 0x20;
const FR_RXFE = 0x10;
const FR_BUSY = 0x08;
const LCR_FEN = 0x10;
const CR_UARTEN = 0x001;
const CR_RXE = 0x200;
const CR_RESET = 0x300;
const IFLS_RESET = 0x12;
const INT_RX = 0x10;
const INT_TX = 0x20;
const INT_RT = 0x40;
const DR_OVERRUN = 0x800;

const FIFO_DEPTH = 32;
const LEVELS = [4, 8, 16, 24, 28, 28, 28, 28]; // 1/8 .. 7/8 of the FIFO
const TIMEOUT_BITS = 32; // of silence, with something in the FIFO
const INPUT_MAX = 1 << 20; // waiting to arrive; more means that nobody keeps to the baud rate

export class Pl011 extends BasePeripheral {
  constructor(mcu, original, { lossless }) {
    super(mcu, original.name);
    this.irq = original.irq;
    this.dreq = original.dreq;
    this.lossless = lossless;
    this.onByte = () => {};
    this.lost = 0;
    this.coming = []; // not yet arrived
    this.received = [];
    this.toSend = [];
    this.sending = null; // the byte in the shift register
    this.overrun = false;
    this.interrupts = 0;
    this.mask = 0;
    this.integer = 0;
    this.fraction = 0;
    this.line = 0;
    this.control = CR_RESET;
    this.levels = IFLS_RESET;
    this.arrival = mcu.clock.createAlarm(() => this.#arrived());
    this.arriving = false;
    this.departure = mcu.clock.createAlarm(() => this.#departed());
    this.silence = mcu.clock.createAlarm(() => this.#silent());
    this.listening = false;
  }

  /** Called by rp2040js when the peripheral clock changes: the rate is read when it is used. */
  clkPeriChanged() {}

  get baud() {
    const divider = this.integer + this.fraction / 64;
    return divider ? this.rp2040.clkPeri / (16 * divider) : 115200;
  }

  get #bitNs() {
    return 1e9 / this.baud;
  }

  get #characterNs() {
    const dataBits = 5 + ((this.line >> 5) & 3);
    const parity = (this.line >> 1) & 1;
    const stopBits = 1 + ((this.line >> 3) & 1);
    return (1 + dataBits + parity + stopBits) * this.#bitNs;
  }

  get #depth() {
    return this.line & LCR_FEN ? FIFO_DEPTH : 1;
  }

  get #receiveLevel() {
    return this.line & LCR_FEN ? LEVELS[(this.levels >> 3) & 7] : 1;
  }

  get #sendLevel() {
    return this.line & LCR_FEN ? LEVELS[this.levels & 7] : 0;
  }

  #interrupt() {
    this.rp2040.setInterrupt(this.irq, !!(this.interrupts & this.mask));
  }

  // Receiving

  input(bytes) {
    if (this.coming.length + bytes.length > INPUT_MAX) {
      this.lost += bytes.length;
      return;
    }
    for (const byte of bytes) this.coming.push(byte);
    this.#expect();
  }

  #expect() {
    if (!this.arriving && this.coming.length) {
      this.arriving = true;
      this.arrival.schedule(this.#characterNs);
    }
  }

  #arrived() {
    this.arriving = false;
    const enabled = this.control & CR_UARTEN && this.control & CR_RXE;
    const room = this.received.length < this.#depth;
    if (enabled && room) {
      this.received.push(this.coming.shift() | (this.overrun ? DR_OVERRUN : 0));
      this.overrun = false;
      if (this.received.length >= this.#receiveLevel) this.interrupts |= INT_RX;
      this.#listen();
      this.#interrupt();
    } else if (!this.lossless) {
      this.coming.shift();
      this.lost++;
      this.overrun = !!enabled;
    }
    this.#expect();
  }

  #listen() {
    if (this.listening) this.silence.cancel();
    this.listening = true;
    this.silence.schedule(TIMEOUT_BITS * this.#bitNs);
  }

  #silent() {
    this.listening = false;
    if (this.received.length) {
      this.interrupts |= INT_RT;
      this.#interrupt();
    }
  }

  #read() {
    const value = this.received.shift() ?? 0;
    if (this.received.length < this.#receiveLevel) this.interrupts &= ~INT_RX;
    if (this.received.length) {
      this.#listen();
    } else {
      this.interrupts &= ~INT_RT;
      if (this.listening) this.silence.cancel();
      this.listening = false;
    }
    this.#interrupt();
    return value;
  }

  // Sending

  #write(byte) {
    if (this.toSend.length < this.#depth) this.toSend.push(byte);
    if (this.toSend.length > this.#sendLevel) this.interrupts &= ~INT_TX;
    this.#send();
    this.#interrupt();
  }

  #send() {
    if (this.sending !== null || !this.toSend.length) return;
    const before = this.toSend.length;
    this.sending = this.toSend.shift();
    if (before > this.#sendLevel && this.toSend.length <= this.#sendLevel) {
      this.interrupts |= INT_TX; // when the level is passed, not while it is below
      this.#interrupt();
    }
    this.departure.schedule(this.#characterNs);
  }

  #departed() {
    this.onByte(this.sending);
    this.sending = null;
    this.#send();
  }

  // Registers

  get #flags() {
    return (
      (this.toSend.length ? 0 : FR_TXFE) |
      (this.received.length >= this.#depth ? FR_RXFF : 0) |
      (this.toSend.length >= this.#depth ? FR_TXFF : 0) |
      (this.received.length ? 0 : FR_RXFE) |
      (this.sending !== null || this.toSend.length ? FR_BUSY : 0)
    );
  }

  readUint32(offset) {
    switch (offset) {
      case DR:
        return this.#read();
      case FR:
        return this.#flags;
      case IBRD:
        return this.integer;
      case FBRD:
        return this.fraction;
      case LCR_H:
        return this.line;
      case CR:
        return this.control;
      case IFLS:
        return this.levels;
      case IMSC:
        return this.mask;
      case RIS:
        return this.interrupts;
      case MIS:
        return this.interrupts & this.mask;
      case DMACR:
        return 0;
    }
    return IDENTITY[offset] ?? super.readUint32(offset);
  }

  writeUint32(offset, value) {
    switch (offset) {
      case DR:
        this.#write(value & 0xff);
        break;
      case IBRD:
        this.integer = value & 0xffff;
        break;
      case FBRD:
        this.fraction = value & 0x3f;
        break;
      case LCR_H:
        this.line = value & 0xff;
        break;
      case CR:
        this.control = value;
        if (value & CR_UARTEN) this.rp2040.dma.setDREQ(this.dreq.tx);
        break;
      case IFLS:
        this.levels = value & 0x3f;
        break;
      case IMSC:
        this.mask = value & 0x7ff;
        this.#interrupt();
        break;
      case ICR:
        this.interrupts &= ~this.rawWriteValue;
        this.#interrupt();
        break;
      case DMACR:
        break; // the port does not use DMA for its UARTs
      default:
        super.writeUint32(offset, value);
    }
  }
}
