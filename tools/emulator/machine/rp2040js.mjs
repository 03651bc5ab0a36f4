// rp2040js, from the node_modules that METERPORT_NODE_MODULES names: they lie in the build directory, not beside this.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.METERPORT_NODE_MODULES, 'index.js'));
export const { BasePeripheral, ConsoleLogger, LogLevel, RP2040, USBCDC } = require('rp2040js');
