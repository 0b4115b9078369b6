/**
 * The transactions that held a lock at one moment and may still be running.
 *
 * Each has a name that nobody else will have (lib/postgres/locks.ts). It leaves the set when it is no
 * longer among the holders; nobody enters it later, with one exception: PREPARE TRANSACTION hands a
 * lock on to a stand-in with another name (`-1/` and its xid), which no lock look can tell apart from
 * a stranger's. So where somebody left, the stand-ins that appeared since then stay in their place;
 * those of the look before count too, as pg_locks, which does not read all locks at one moment, can
 * show somebody by both names once. A stand-in that leaves brings nobody in, so the set always runs
 * empty in the end.
 */
export class HolderSet {
  #holders: Set<string>
  #prepared: readonly string[]
  /** Stand-ins that were there a look earlier than those. */
  #known: Set<string>

  constructor (now: readonly string[]) {
    this.#holders = new Set(now)
    this.#prepared = now.filter(isPrepared)
    this.#known = new Set(this.#prepared)
  }

  get empty (): boolean {
    return this.#holders.size === 0
  }

  /** Keeps those who still hold the lock. `now`: all who hold it at this moment. */
  narrow (now: readonly string[]): void {
    const present = new Set(now)
    const prepared = now.filter(isPrepared)
    let left = false
    for (const holder of this.#holders) {
      if (present.has(holder)) continue
      this.#holders.delete(holder)
      left ||= !isPrepared(holder)
    }
    if (left) {
      for (const holder of prepared) {
        if (!this.#known.has(holder)) this.#holders.add(holder)
      }
    }
    this.#known = new Set(this.#prepared)
    this.#prepared = prepared
  }

  [Symbol.iterator] (): Iterator<string> {
    return this.#holders.values()
  }
}

function isPrepared (holder: string): boolean {
  return holder.startsWith('-1/')
}
