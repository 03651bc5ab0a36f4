// One RP2040 from power-on to its reset: core, boot ROM, flash, two UARTs and the USB serial port with the REPL.
//
// In:  a Flash; bytes for input() of the UARTs and of the REPL.
// Out: onUart[n](byte), onRepl(bytes), onUsb() once the host's side of the port is up, onFault(text).
// run() executes; it returns how long nothing is to be done. `reset` tells that the firmware has reset the chip, and why.

import { ConsoleLogger, LogLevel, RP2040, USBCDC } from './rp2040js.mjs';
import * as bootrom from './bootrom.mjs';
import { Pl011 } from './uart.mjs';
import { Watchdog } from './watchdog.mjs';

const CLOCK_HZ = 125e6; // of a Pico with MicroPython 1.25
const CYCLE_NS = 1e9 / CLOCK_HZ;
const UART_BASES = [0x40034, 0x40038];
const WATCHDOG_BASE = 0x40058;
const USB_PACKET = 64;
const RAM_BASE = 0x20000000;
const KIB = 1024;
const RAM_KIB = [264, 520]; // of an RP2040; of an RP2350
const VECTORS_AT = 0x100; // in flash: the first is where the stack begins, which is the end of the RAM
const SLICE_NS = 4e6; // executed at once, before the sockets have their turn
const LOOK_EVERY = 20000; // instructions between two looks at the wall clock
const LAG_NS = 5e6; // more than this behind the wall clock is given up: time stretches while the chip is busy
const IDLE_MAX_MS = 20;

const wallNs = () => Number(process.hrtime.bigint());

/** As much RAM as the image in flash was linked for: an RP2040's, or (which no RP2040 has) that of an RP2350. */
function giveRam(mcu, flash) {
  const end = new DataView(flash.bytes.buffer).getUint32(VECTORS_AT, true);
  const size = RAM_KIB.map((kib) => kib * KIB).find((bytes) => RAM_BASE + bytes === end);
  if (size === undefined || size === mcu.sram.length) return; // a flash without a program has its own fault
  mcu.sram = new Uint8Array(size);
  mcu.sramView = new DataView(mcu.sram.buffer);
}

export class Machine {
  /** `before` is the machine that was reset: the watchdog's reason and scratch registers outlive a reset. */
  constructor(flash, before = null) {
    const mcu = new RP2040();
    mcu.logger = new ConsoleLogger(LogLevel.Error);
    giveRam(mcu, flash);
    this.mcu = mcu;
    this.reset = null;
    this.busyNs = 0;
    this.onFault = () => {};
    this.onUart = [() => {}, () => {}];
    this.onRepl = () => {};
    this.onUsb = () => {};
    this.uarts = mcu.uart.map((original, n) => {
      // The first carries PPP: what its peer sends waits, as it would with flow control. The second is the meter bus.
      const uart = new Pl011(mcu, original, { lossless: n === 0 });
      uart.onByte = (byte) => this.onUart[n](byte);
      mcu.uart[n] = mcu.peripherals[UART_BASES[n]] = uart;
      return uart;
    });
    this.#plugUsb();
    this.watchdog = mcu.peripherals[WATCHDOG_BASE] = new Watchdog(mcu, 'WATCHDOG');
    if (before) {
      this.watchdog.reason = before.watchdog.reason;
      this.watchdog.scratch.set(before.watchdog.scratch);
    }
    this.watchdog.onBite = (cause) => (this.reset = cause);
    bootrom.install(mcu, flash, (text) => this.onFault(text));
    flash.attach(mcu.flash); // after the ROM: rp2040js erases the flash when it takes one
    this.epochNs = null; // wall time at which the chip's clock was 0
  }

  get chipSeconds() {
    return this.mcu.clock.nanos / 1e9;
  }

  // The REPL: a USB serial port

  #plugUsb() {
    const usb = this.mcu.usbCtrl;
    this.usb = new USBCDC(usb);
    this.usb.onDeviceConnected = () => this.onUsb();
    this.usb.onSerialData = (bytes) => this.onRepl(bytes);
    this.replInput = [];
    this.replWanted = 0; // bytes that the chip waits for
    usb.onEndpointRead = (endpoint, size) => {
      if (endpoint === this.usb.outEndpoint) {
        this.replWanted = size;
        this.#feedRepl();
      }
    };
  }

  repl(bytes) {
    for (const byte of bytes) this.replInput.push(byte);
    this.#feedRepl();
  }

  #feedRepl() {
    const size = Math.min(this.replWanted, this.replInput.length, USB_PACKET);
    if (!size) return;
    this.replWanted = 0;
    this.mcu.usbCtrl.endpointReadDone(this.usb.outEndpoint, Uint8Array.from(this.replInput.splice(0, size)));
  }

  // Execution

  /** Executes for a few milliseconds; the chip's clock never runs ahead of the wall clock. Returns the milliseconds for
   *  which nothing is to be done; 0 when it is busy. */
  run() {
    const { core, clock } = this.mcu;
    const begin = wallNs();
    this.epochNs ??= begin - clock.nanos;
    let idleMs = 0;
    let steps = 0;
    while (!this.reset) {
      if (core.waiting) {
        const allowed = wallNs() - this.epochNs;
        const next = clock.nextAlarm ? clock.nextAlarm.nanos : Infinity;
        if (next <= allowed) {
          clock.tick(Math.max(0, next - clock.nanos));
          steps += 50;
        } else {
          if (allowed > clock.nanos) clock.tick(allowed - clock.nanos);
          if (core.waiting) {
            idleMs = Math.min(IDLE_MAX_MS, (next - clock.nanos) / 1e6);
            break;
          }
        }
      } else {
        clock.tick(core.executeInstruction() * CYCLE_NS);
        steps++;
      }
      if (steps > LOOK_EVERY) {
        steps = 0;
        if (wallNs() - begin > SLICE_NS) break;
      }
    }
    const lag = wallNs() - this.epochNs - clock.nanos;
    if (lag > LAG_NS && !core.waiting) this.epochNs += lag;
    this.busyNs += wallNs() - begin;
    return idleMs;
  }
}
