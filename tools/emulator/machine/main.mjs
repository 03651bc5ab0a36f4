// node main.mjs --flash FILE [--repl PORT] [--uart0 PORT] [--uart1 PORT]
//
// Runs the RP2040 whose flash is FILE (4 MiB, written as the chip writes it; flash.mjs can keep a journal of that). The
// REPL and both UARTs are TCP servers on 127.0.0.1; port 0 picks a free one. A UART has one client: a newcomer takes the
// place of the one before. The REPL may have several, which all see its output.
// In, on stdin: a line switches the power on, once the parent process has connected; the end of stdin ends it.
// Out, on stdout: one JSON object a line,
//   {"event":"listening","repl":N,"uart0":N,"uart1":N}    {"event":"usb"}    {"event":"reset","cause":"software"|"watchdog"}
//   {"event":"fault","text":...} and then exit code 3     {"event":"statistics",...} on SIGUSR2
// A reset keeps the sockets of the UARTs (a line does not notice) and closes the REPL's (its USB port vanishes).

import net from 'node:net';
import { parseArgs } from 'node:util';
import { Flash } from './flash.mjs';
import { Machine } from './machine.mjs';

const HOST = '127.0.0.1';
const FAULT_CODE = 3;
const OUTPUT_MAX = 1 << 20; // bytes that a client has not read; what is more is lost

const say = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');

/** A TCP server; a shared one sends its output to every client, the other has one client at a time. */
class Socket {
  constructor(shared, onData) {
    this.clients = new Set();
    this.output = [];
    this.server = net.createServer((client) => {
      if (!shared) this.close();
      this.clients.add(client);
      client.setNoDelay(true);
      client.on('data', onData);
      client.on('error', () => client.destroy()); // a reset by the peer is an end like any other
      client.on('close', () => this.clients.delete(client));
    });
  }

  async listen(port) {
    await new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, HOST, resolve);
    });
    return this.server.address().port;
  }

  flush() {
    if (!this.output.length) return;
    const bytes = Buffer.from(this.output);
    this.output = [];
    for (const client of this.clients) if (client.writableLength < OUTPUT_MAX) client.write(bytes);
  }

  close() {
    for (const client of this.clients) client.end();
    this.clients.clear();
    this.output = [];
  }
}

const options = parseArgs({
  options: {
    flash: { type: 'string' },
    repl: { type: 'string', default: '0' },
    uart0: { type: 'string', default: '0' },
    uart1: { type: 'string', default: '0' },
  },
}).values;

const flash = new Flash(options.flash);
let machine;
let timer = null;

const wake = () => {
  if (timer) {
    clearTimeout(timer);
    timer = null;
    setImmediate(turn);
  }
};
const replSocket = new Socket(true, (data) => {
  machine.repl(data);
  wake();
});
const uartSockets = [0, 1].map(
  (n) =>
    new Socket(false, (data) => {
      machine.uarts[n].input(data);
      wake();
    }),
);

function powerOn(before) {
  machine = new Machine(flash, before);
  machine.onUart = uartSockets.map((socket) => (byte) => socket.output.push(byte));
  machine.onRepl = (bytes) => replSocket.output.push(...bytes);
  machine.onUsb = () => say('usb', { chip_s: machine.chipSeconds });
  machine.onFault = (text) => {
    say('fault', { text });
    process.exit(FAULT_CODE);
  };
}

function turn() {
  timer = null;
  const idleMs = machine.run();
  for (const socket of [replSocket, ...uartSockets]) socket.flush();
  if (machine.reset) {
    say('reset', { cause: machine.reset, chip_s: machine.chipSeconds });
    replSocket.close();
    powerOn(machine);
  }
  if (idleMs > 1) timer = setTimeout(turn, idleMs);
  else setImmediate(turn);
}

process.on('SIGUSR2', () => {
  const { core } = machine.mcu;
  say('statistics', {
    chip_s: machine.chipSeconds,
    cycles: core.cycles,
    busy_s: machine.busyNs / 1e9,
    lost: machine.uarts.map((uart) => uart.lost),
    erased: flash.erased,
    programmed: flash.programmed,
  });
});

powerOn(null);
say('listening', {
  repl: await replSocket.listen(+options.repl),
  uart0: await uartSockets[0].listen(+options.uart0),
  uart1: await uartSockets[1].listen(+options.uart1),
});
process.stdin.once('data', turn);
process.stdin.on('end', () => process.exit(0));
