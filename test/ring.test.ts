import t from 'tap'
import type { Frame } from '../lib/queue/frame.ts'
import { Batch, Ring } from '../lib/queue/ring.ts'
import { Cursor } from '../lib/tail/cursor.ts'

function batch (frames: number, length = frames): Batch {
  const all = Array.from({ length: frames }, () => ({ event: 'x'.repeat(length / frames) }) as Frame)
  return new Batch(all, Cursor.ZERO)
}

t.test('positions count batches since the start', async (t) => {
  const ring = new Ring(10)
  t.equal(ring.end, 0)
  t.ok(ring.has(0), 'nothing was dropped')
  t.equal(ring.at(0), undefined)
  const batches = [batch(1), batch(2), batch(3)]
  for (const one of batches) ring.push(one)
  t.equal(ring.end, 3)
  t.equal(ring.frames, 6)
  batches.forEach((one, position) => t.equal(ring.at(position), one))
  t.equal(ring.at(3), undefined, 'not yet')
})

t.test('it drops the oldest batches beyond so many frames', async (t) => {
  const ring = new Ring(4)
  for (let i = 0; i < 4; i++) ring.push(batch(1))
  t.ok(ring.has(0))
  const last = batch(2)
  ring.push(last)
  t.equal(ring.frames, 4)
  t.notOk(ring.has(1))
  t.equal(ring.at(1), undefined, 'who is there reads from the table')
  t.ok(ring.has(2))
  t.equal(ring.at(4), last)
  t.equal(ring.end, 5)
})

t.test('it drops the oldest batches beyond so many characters', async (t) => {
  const ring = new Ring(4)
  ring.push(batch(1, 2048))
  ring.push(batch(1, 2048))
  t.ok(ring.has(0), 'four KiB are allowed')
  ring.push(batch(1, 1))
  t.notOk(ring.has(0))
  t.ok(ring.has(1))
  t.equal(ring.frames, 2)
})

t.test('the last batch stays, however large', async (t) => {
  const ring = new Ring(2)
  ring.push(batch(1))
  const large = batch(5, 1_000_000)
  ring.push(large)
  t.notOk(ring.has(0))
  t.equal(ring.at(1), large)
  t.equal(ring.frames, 5)
  const next = batch(1)
  ring.push(next)
  t.notOk(ring.has(1), 'until the next one comes')
  t.equal(ring.at(2), next)
  t.equal(ring.frames, 1)
})

t.test('cleared, it goes on counting', async (t) => {
  const ring = new Ring(4)
  ring.push(batch(2))
  ring.push(batch(1, 4096))
  ring.clear()
  t.equal(ring.end, 2)
  t.equal(ring.frames, 0)
  t.notOk(ring.has(1))
  t.ok(ring.has(2), 'whoever was up to date still is')
  for (let i = 0; i < 4; i++) ring.push(batch(1, 1024))
  t.ok(ring.has(2), 'what was cleared no longer counts')
  t.equal(ring.end, 6)
})

t.test('a batch is made into bytes once', async (t) => {
  const one = new Batch([{ event: 'id: 1\n\n' } as Frame, { event: 'id: 2\n\n' } as Frame], new Cursor(2n))
  t.equal(one.length, 14)
  t.equal(one.bytes.toString(), 'id: 1\n\nid: 2\n\n')
  t.equal(one.bytes, one.bytes)
  t.equal(one.length, 14)
  t.equal(one.chunk.toString(), 'e\r\nid: 1\n\nid: 2\n\n\r\n')
  t.equal(one.chunk.buffer, one.bytes.buffer, 'both are the same memory')
  const notice = new Batch([], Cursor.ZERO, ['data: ö🥭\n\n'])
  t.equal(notice.bytes.toString(), 'data: ö🥭\n\n')
  t.equal(notice.chunk.toString(), 'e\r\ndata: ö🥭\n\n\r\n', 'its size is in bytes')
})
