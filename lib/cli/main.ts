#!/usr/bin/env node
import { readFile } from 'node:fs/promises'
import { Arguments, HELP } from './arguments.ts'
import type { Command } from './command.ts'
import { doctor } from './doctor.ts'
import { UsageError } from './failure.ts'
import { helpOfCommand, helpOfProgram } from './help.ts'
import { install, uninstall } from './install.ts'
import { monitor } from './monitor.ts'
import { sql } from './sql.ts'
import { status } from './status.ts'
import { tail } from './tail.ts'
import { Terminal } from './terminal.ts'

const COMMANDS: readonly Command[] = [tail, monitor, doctor, status, install, uninstall, sql]
/** What a shell says of a program that Ctrl-C has ended. */
const INTERRUPTED = 130
/** Milliseconds that a command has to end after Ctrl-C. */
const GRACE = 3000

const { env, stdout, stderr } = process
const terminal = new Terminal(stdout, stderr, env)
const interrupt = new AbortController()

// `| head` has read enough: that is no error.
for (const stream of [stdout, stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The second time, whoever it is means it.
    if (interrupt.signal.aborted) process.exit(INTERRUPTED)
    interrupt.abort()
    setTimeout(() => process.exit(INTERRUPTED), GRACE).unref()
  })
}

async function main ([name, ...rest]: string[]): Promise<number> {
  if (name === 'help' && rest[0] !== undefined && !rest[0].startsWith('-')) return main([rest[0], '--help'])
  if (name === '--help' || name === '-h' || name === 'help') {
    terminal.text(helpOfProgram(COMMANDS))
    return 0
  }
  if (name === '--version') {
    const { version } = JSON.parse(await readFile(new URL(import.meta.resolve('fastify-pg-tail/package.json')), 'utf8'))
    terminal.text(`${version}\n`)
    return 0
  }
  const command = COMMANDS.find((each) => each.name === name)
  const names = COMMANDS.map((each) => each.name).join(', ')
  if (name === undefined) throw new UsageError(`no command: give one of ${names}`)
  if (name.startsWith('-')) throw new UsageError(`no command before the option ${name.split('=')[0]}: give one of ${names}`)
  if (command === undefined) throw new UsageError(`no command "${name}": give one of ${names}`)
  try {
    const args = new Arguments(rest, { ...command.options, ...HELP }, command.takesNames)
    if (args.flag('help')) {
      terminal.text(helpOfCommand(command))
      return 0
    }
    return await command.run({ args, terminal, env, signal: interrupt.signal })
  } catch (error) {
    if (error instanceof UsageError) error.command = command.name
    throw error
  }
}

// Pauses between two tries hold nothing open that would keep the process alive.
const alive = setInterval(() => {}, 2 ** 30)
try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (interrupt.signal.aborted) process.exitCode = INTERRUPTED
  else if (error instanceof UsageError) {
    terminal.complain(error)
    terminal.say(`See: fastify-pg-tail ${error.command === null ? '' : `${error.command} `}--help`)
    process.exitCode = 2
  } else {
    terminal.complain(error)
    process.exitCode = 1
  }
}
clearInterval(alive)
