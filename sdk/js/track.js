/* How far a client has read: the history's name, the last position of each queue, the ids shown lately. Replaced,
 * never compared; see docs/how-to/resume.md. */

const REMEMBERED_IDS = 4096;

export class Track {
  /* from: what another one's `copy` said. */
  constructor({ epoch, pos = {}, ids = [] } = {}) {
    this.epoch = epoch;
    this.pos = { ...pos };
    this.ids = new Map(ids); // id → whether its handlers are done
  }

  /* What can be sent to another tab. */
  get copy() {
    return { epoch: this.epoch, pos: this.pos, ids: [...this.ids] };
  }

  /* What hello says of it; undefined before the first welcome. */
  get resume() {
    return this.epoch && { epoch: this.epoch, pos: this.pos };
  }

  /* Of another history the old positions mean nothing. */
  move(epoch, pos) {
    if (epoch && epoch !== this.epoch) {
      this.epoch = epoch;
      this.pos = {};
    }
    Object.assign(this.pos, pos);
  }

  #pass(pos) {
    if (pos) {
      const colon = pos.indexOf(":");
      this.pos[pos.slice(0, colon)] = pos.slice(colon + 1);
    }
  }

  /* Takes a frame into account. False: a message that was shown before. */
  take(frame) {
    switch (frame.t) {
      case "welcome":
        if (frame.resumed === "none") this.pos = {};
        this.move(frame.epoch, frame.pos);
        break;
      case "pos":
        this.move(frame.epoch, frame.pos);
        break;
      case "gap": // positions of other queues stay good, whatever the history is called now
        if (frame.epoch) this.epoch = frame.epoch;
        if (frame.to) this.pos[frame.q] = frame.to;
        break;
      case "revoke":
        this.#pass(frame.pos);
        break;
      case "msg":
        this.#pass(frame.pos);
        return this.#isNew(frame.id);
    }
    return true;
  }

  done(id) {
    if (this.ids.has(id)) this.ids.set(id, true);
  }

  isDone(id) {
    return this.ids.get(id);
  }

  /* What nobody could handle is shown again when it is repeated. */
  forget(id) {
    if (!this.isDone(id)) this.ids.delete(id);
  }

  #isNew(id) {
    if (!id) return true;
    if (this.ids.has(id)) return false;
    this.ids.set(id, false);
    if (this.ids.size > REMEMBERED_IDS) this.ids.delete(this.ids.values().next().value);
    return true;
  }
}
