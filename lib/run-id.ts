import { errors } from './errors.ts'

const INTEGER = /^-?\d{1,19}$/
const UUID = /^[\da-f]{8}-?(?:[\da-f]{4}-?){3}[\da-f]{12}$/i
const MAX_LENGTH = 256
const BITS: Record<string, bigint> = { smallint: 16n, integer: 32n, bigint: 64n }

/** Whether runs of this type are numbers in JSON. */
export function isInteger (type: string): boolean {
  return type in BITS
}

/**
 * The form in which rows have the run.
 * @param type of the column; undefined where it is not known yet
 * @throws FST_PG_TAIL_RUN where the text cannot be a run
 */
export function parseRun (text: string, type: string | undefined): string {
  if (text === '' || text.length > MAX_LENGTH || text.includes('\0')) throw new errors.Run(JSON.stringify(text.slice(0, 40)), 'run')
  if (type !== undefined && type in BITS) {
    const run = INTEGER.test(text) ? BigInt(text) : null
    if (run === null || BigInt.asIntN(Number(BITS[type]), run) !== run) throw new errors.Run(JSON.stringify(text.slice(0, 40)), type)
    return String(run)
  }
  if (type === 'uuid') {
    if (!UUID.test(text)) throw new errors.Run(JSON.stringify(text.slice(0, 40)), type)
    return text.replaceAll('-', '').toLowerCase().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }
  return text
}
