// A node of the doorbell's model, in one word.

// #state. Up to HOT it needs no lock.
export const OFF = 0
export const POLLING = 1
export const HOT = 2
export const ARMED = 3
export const FAILED = 4
export const TRYING = 5
export const PAUSING = 6
export const LOOKING = 7
export const NOTED = 8
export const NARROWING = 9
/** For a mistake: has the lock, and reads before it looks. */
export const READS_FIRST = 10

/** Sessions. MUTE: the listener misses the trigger. GONE: dead, and nobody has noticed. DEAF: did not LISTEN yet. */
export const NONE = 0
export const UP = 1
export const MUTE = 2
export const GONE = 3
export const DEAF = 4

/** Reads. VOID: of a life before the last stop(). */
export const IDLE = 0
export const READING = 1
export const VOID = 2

/** Statements. TAKEN: a TRY that has locked. OLD: for a turn that is over. */
export const TRY = 1
export const TAKEN = 2
export const OLD_TRY = 3
export const OLD_TAKEN = 4
export const UNLOCK = 5
export const LISTEN = 6
export const MAX_OPS = 3

/** In `noted`, next to a bit for each writer: somebody who has ended. */
export const ENDED = 8

/** With bits, in the order in which they are packed. */
export const FIELDS = { doorbell: 4, session: 3, held: 2, ops: 9, timer: 1, read: 2, again: 1, stale: 1, bell: 1, locked: 1, noted: 4, old: 1 }

/**
 * `stale`: a row is visible that the read under way does not bring, or else the last one did not. `bell`: sent, not heard.
 * `locked`: #lockedOn. `noted`: #writers, or what the look under way brings. `old`: for a mistake, a look of an earlier turn.
 */
export type Node = Record<keyof typeof FIELDS, number>
export const NAMES = Object.keys(FIELDS) as Array<keyof Node>
export const NOTED_AT = 25

export function unpack (word: number): Node {
  const node = {} as Node
  for (const name of NAMES) {
    node[name] = word & (1 << FIELDS[name]) - 1
    word >>= FIELDS[name]
  }
  return node
}

export function opAt (ops: number, i: number): number {
  return ops >> 3 * i & 7
}

export function put (node: Node, i: number, op: number): void {
  node.ops = node.ops & ~(7 << 3 * i) | op << 3 * i
}

export function remove (node: Node, i: number): void {
  const before = (1 << 3 * i) - 1
  node.ops = node.ops & before | node.ops >> 3 & ~before
}

export function ended (word: number, i: number): number {
  const bit = 1 << NOTED_AT + i
  return word & bit ? word & ~bit | ENDED << NOTED_AT : word
}

/** Two neighbours of so many bits each, the other way round. */
export function swapped (word: number, at: number, bits: number): number {
  const differ = (word >> at ^ word >> at + bits) & (1 << bits) - 1
  return word ^ (differ << at | differ << at + bits)
}
