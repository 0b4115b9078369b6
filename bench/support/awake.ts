// Processors that have nothing to do fall asleep, and take long to wake: then whoever is alone is slower than with others beside.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'

/** Each processor works meanwhile, but at once gives way to anybody else: a process of the lowest priority for each. Linux only. */
export async function awake<T> (meanwhile: () => Promise<T>): Promise<T> {
  const busy = cpus().map((_, i) => spawn('chrt', ['--idle', '0', 'taskset', '--cpu-list', String(i), process.execPath, '-e', 'const parent = process.ppid; while (process.ppid === parent);'], { stdio: 'inherit' }))
  try {
    await Promise.all(busy.map((child) => once(child, 'spawn')))
    const result = await meanwhile()
    if (busy.some(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)) throw new Error('a processor fell asleep: chrt or taskset has ended')
    return result
  } finally {
    for (const child of busy) child.kill()
    await Promise.all(busy.map(async (child) => child.exitCode === null && child.signalCode === null && once(child, 'exit')))
  }
}
