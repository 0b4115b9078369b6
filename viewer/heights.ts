const SIZE = 512

/** How high each row is, so that a place in pixels is found without looking at all: sums of blocks. Numbers are those of the store. */
export class Heights {
  first = 0
  end = 0
  total = 0
  #blocks: Array<{ heights: Float64Array, sum: number }> = []
  #firstBlock = 0

  push (height: number): void {
    const index = Math.floor(this.end / SIZE) - this.#firstBlock
    const block = this.#blocks[index] ??= { heights: new Float64Array(SIZE), sum: 0 }
    block.heights[this.end++ % SIZE] = height
    block.sum += height
    this.total += height
  }

  get (number: number): number {
    return this.#block(number).heights[number % SIZE]!
  }

  set (number: number, height: number): void {
    const block = this.#block(number)
    const change = height - block.heights[number % SIZE]!
    block.heights[number % SIZE] = height
    block.sum += change
    this.total += change
  }

  /** Drops all before that. */
  dropTo (number: number): void {
    while (this.first < number) {
      if (this.first % SIZE === 0 && number - this.first >= SIZE) {
        this.total -= this.#blocks.shift()!.sum
        this.#firstBlock++
        this.first += SIZE
      } else {
        this.set(this.first++, 0)
        if (this.first % SIZE === 0) {
          this.#blocks.shift()
          this.#firstBlock++
        }
      }
    }
  }

  clear (first: number): void {
    this.first = this.end = first
    this.#firstBlock = Math.floor(first / SIZE)
    this.#blocks = []
    this.total = 0
  }

  /** Pixels above it. */
  top (number: number): number {
    let top = 0
    const index = Math.floor(number / SIZE) - this.#firstBlock
    for (let i = 0; i < index; i++) top += this.#blocks[i]!.sum
    for (let i = (index + this.#firstBlock) * SIZE; i < number; i++) top += this.#blocks[index]!.heights[i % SIZE]!
    return top
  }

  /** The one at so many pixels; the first or the last beyond them. */
  at (top: number): number {
    let index = 0
    while (index < this.#blocks.length - 1 && top >= this.#blocks[index]!.sum) top -= this.#blocks[index++]!.sum
    const start = (this.#firstBlock + index) * SIZE
    let number = Math.max(this.first, start)
    const last = Math.min(this.end, start + SIZE) - 1
    while (number < last && top >= this.#blocks[index]!.heights[number % SIZE]!) top -= this.#blocks[index]!.heights[number++ % SIZE]!
    return number
  }

  #block (number: number) {
    return this.#blocks[Math.floor(number / SIZE) - this.#firstBlock]!
  }
}
