import { HELP, type OptionSet } from './arguments.ts'
import type { Command } from './command.ts'

const PROGRAM = 'fastify-pg-tail'

export function helpOfProgram (commands: readonly Command[]): string {
  return `${PROGRAM}: tail -f for a PostgreSQL table, and what helps when it does not.

Usage: ${PROGRAM} <command> [options]

${columns(commands.map(({ name, summary }) => [name, summary]))}

${PROGRAM} <command> --help says more of each, ${PROGRAM} --version which one this is.

The database is --database <url>, or DATABASE_URL. Exit codes: 0 fine, 1 something is wrong, 2 the command
line is not right, 130 Ctrl-C came before the end. NO_COLOR=1 switches colours off.
`
}

export function helpOfCommand ({ name, summary, usage, options, notes }: Command): string {
  return `${summary}

Usage: ${PROGRAM} ${name}${usage && ' '}${usage}

${columns(describe({ ...options, ...HELP }))}
${notes.map((note) => `\n${note}\n`).join('')}`
}

function describe (options: OptionSet): Array<[string, string]> {
  return Object.entries(options).map(([name, { short, value, text, multiple }]) =>
    [`${short ? `-${short}, ` : ''}--${name}${value === undefined ? '' : ` <${value}>`}`, multiple ? `${text}; may be repeated` : text])
}

function columns (rows: Array<[string, string]>): string {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n')
}
