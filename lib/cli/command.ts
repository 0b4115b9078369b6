import type { Arguments, OptionSet } from './arguments.ts'
import type { Terminal } from './terminal.ts'

export interface Call {
  args: Arguments
  terminal: Terminal
  env: NodeJS.ProcessEnv
  /** Aborts on Ctrl-C: whatever goes on for ever ends then. */
  signal: AbortSignal
}

export interface Command {
  name: string
  /** One line, for the list of commands. */
  summary: string
  /** What is behind the name, such as `<table> …`. */
  usage: string
  /** Paragraphs below the options. */
  notes: string[]
  options: OptionSet
  /** How many names of tables it takes; a single one may stand for the option `table`. */
  takesNames: 'one' | 'several'
  /** @returns the exit code: 0 fine, 1 something is wrong */
  run (call: Call): Promise<number>
}
