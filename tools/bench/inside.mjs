// Follows calls of a function, from its first instruction to the one after its call.
//
// In: look(core, pc) before every instruction. Out: entered() and left() of the owner.
// `path` are addresses of functions, outermost first: the last one counts where all others are under way. Of nested calls of
// one function the outermost counts. A frame that is left in any other way (MicroPython's exceptions jump) is left.

export class Inside {
  constructor(path, entered, left) {
    this.path = path.map((address) => address & ~1);
    this.entered = entered;
    this.left = left;
    this.frames = []; // {back, sp} of those under way
    this.next = this.path[0]; // what is waited for
    this.top = null;
  }

  look(core, pc) {
    const { frames } = this;
    if (pc === this.next) {
      this.top = { back: core.LR & ~1, sp: core.SP };
      frames.push(this.top);
      this.next = this.path[frames.length] ?? -1;
      if (this.next === -1) this.entered();
    } else if (this.top !== null && (pc === this.top.back || core.SP > this.top.sp)) {
      if (core.SP < this.top.sp) return; // another call from the same place, further down
      if (frames.length === this.path.length) this.left();
      frames.pop();
      this.top = frames.at(-1) ?? null;
      this.next = this.path[frames.length];
    }
  }
}
