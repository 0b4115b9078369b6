import { Failure } from './failure.ts'

/** A block of lines that has ended. */
export interface SseBlock {
  /** Null: it does not change the last id. A block without data may change it as well. */
  id: string | null
  /** Null: it is no event. */
  data: string | null
  /** Milliseconds after which to come back. */
  retry: number | null
}

/** Characters. A message has 16 MiB at most, and a character of it six in JSON. */
const MAX_BLOCK = 256 * 1024 * 1024

/** Reads an event stream, however it is cut into chunks. */
export class SseParser {
  #line: string[] = []
  #length = 0
  #afterReturn = false
  #id: string | null = null
  #data: string[] = []
  #retry: number | null = null
  #empty = true

  #read (line: string): SseBlock | null {
    if (line === '') {
      const block = this.#empty ? null : { id: this.#id, data: this.#data.length === 0 ? null : this.#data.join('\n'), retry: this.#retry }
      this.#id = this.#retry = null
      this.#data = []
      this.#empty = true
      this.#length = 0
      return block
    }
    this.#empty = false
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.#data.push(value)
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) this.#retry = Number(value)
    return null
  }

  /** @throws Failure where a block does not end */
  * feed (chunk: string): Generator<SseBlock> {
    let start = 0
    // One line break may come in two chunks.
    if (this.#afterReturn && chunk.startsWith('\n')) start = 1
    if (chunk !== '') this.#afterReturn = chunk.endsWith('\r')
    for (const { 0: end, index } of chunk.matchAll(/\r\n|\n|\r/g)) {
      if (index < start) continue
      const line = this.#line.join('') + chunk.slice(start, index)
      this.#line = []
      start = index + end.length
      const block = this.#read(line)
      if (block !== null) yield block
    }
    if (start < chunk.length) this.#line.push(chunk.slice(start))
    this.#length += chunk.length
    if (this.#length > MAX_BLOCK) throw new Failure('this is no event stream: an event does not end')
  }
}
