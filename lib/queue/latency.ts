/** The last so many measurements. */
const SIZE = 512

/** Milliseconds from a row's own timestamp to its delivery, of the last batches. */
export class Latency {
  readonly #values = new Float64Array(SIZE)
  #count = 0

  record (timestamp: string): number {
    const latency = Date.now() - Date.parse(timestamp)
    this.#values[this.#count++ % SIZE] = latency
    return latency
  }

  report (): { p50: number, p99: number } | null {
    const values = this.#values.slice(0, this.#count).sort()
    if (values.length === 0) return null
    return { p50: values[values.length >> 1]!, p99: values[Math.floor(values.length * 0.99)]! }
  }
}
