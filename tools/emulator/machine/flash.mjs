// The flash chip: NOR flash that is kept in a file, operation by operation, so that killing the emulator is a power cut.
// In: an image of 4 MiB (made on the first start). Out: the same file, never further than the last finished operation.
// Where a file FILE.journal lies beside the image, each operation is appended to it as a line of JSON, {"erase":OFFSET} or
// {"program":OFFSET,"data":HEX}: with the image of before, that is the flash at every moment at which the power may go.
import fs from 'node:fs';

export const FLASH_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 256; // programmed at once: W25Q16JV datasheet 8.2.15
const SECTOR_BYTES = 4096; // erased at once: 8.2.17

export class Flash {
  constructor(path) {
    this.file = fs.openSync(path, 'r+');
    this.bytes = new Uint8Array(FLASH_BYTES).fill(0xff);
    fs.readSync(this.file, this.bytes, 0, FLASH_BYTES, 0);
    this.target = this.bytes; // what the chip reads
    const journal = path + '.journal';
    this.journal = fs.existsSync(journal) ? fs.openSync(journal, 'a') : null;
    this.erased = 0;
    this.programmed = 0;
  }

  /** The chip's own view of the flash, which it executes from. */
  attach(target) {
    target.set(this.bytes, 0);
    this.target = target;
  }

  erase(offset, length) {
    for (let at = offset; at < offset + length; at += SECTOR_BYTES) {
      this.#note({ erase: at });
      this.#write(at, new Uint8Array(SECTOR_BYTES).fill(0xff));
      this.erased++;
    }
  }

  /** Programming clears bits and sets none. */
  program(offset, data) {
    for (let at = 0; at < data.length; at += PAGE_BYTES) {
      const page = data.slice(at, at + PAGE_BYTES);
      for (let n = 0; n < page.length; n++) page[n] &= this.bytes[offset + at + n];
      this.#note({ program: offset + at, data: Buffer.from(page).toString('hex') });
      this.#write(offset + at, page);
      this.programmed++;
    }
  }

  #note(operation) {
    if (this.journal !== null) fs.writeSync(this.journal, JSON.stringify(operation) + '\n');
  }

  #write(offset, data) {
    if (offset + data.length > FLASH_BYTES) throw new RangeError(`flash: ${offset}+${data.length} is beyond its end`);
    this.bytes.set(data, offset);
    if (this.target !== this.bytes) this.target.set(data, offset);
    fs.writeSync(this.file, data, 0, data.length, offset);
  }
}
