// A client that knows nothing of HTTP.

import { connect, type Socket } from 'node:net'
import { eventually } from './eventually.ts'
import type { TestLike } from './postgres.ts'

/** What comes over a socket, as it comes. */
export class RawClient {
  text = ''
  readonly #socket: Socket

  constructor (t: TestLike, url: string, request: string) {
    this.#socket = connect(Number(new URL(url).port), '127.0.0.1')
    this.#socket.setEncoding('latin1').on('data', (text) => { this.text += text }).on('error', () => {})
    t.teardown(() => this.#socket.destroy())
    this.#socket.write(request)
  }

  pause (): void {
    this.#socket.pause()
  }

  resume (): void {
    this.#socket.resume()
  }

  until (pattern: RegExp): Promise<boolean> {
    return eventually(() => pattern.test(this.text))
  }
}

/** What is in the chunks of a response. @throws where one is not as long as it says */
export function dechunk (body: string): string {
  let text = ''
  for (let at = 0; at < body.length;) {
    const [head, hex] = /^([0-9a-f]+)\r\n/.exec(body.slice(at, at + 20))!
    const start = at + head.length
    const size = parseInt(hex!, 16)
    text += body.slice(start, start + size)
    if (body.slice(start + size, start + size + 2) !== '\r\n') throw new Error(`a chunk is not ${size} long`)
    at = start + size + 2
  }
  return text
}
