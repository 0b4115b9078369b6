import type { Sql } from 'postgres'

/** The arrays that PostgreSQL brings, by oid, and what is in them. */
const ARRAYS: Record<number, number> = {
  1000: 16, // boolean
  1001: 17, // bytea
  1003: 19, // name
  1005: 21, // smallint
  1007: 23, // integer
  1009: 25, // text
  1014: 1042, // char
  1015: 1043, // varchar
  1016: 20, // bigint
  1021: 700, // real
  1022: 701, // double precision
  1028: 26, // oid
  1041: 869, // inet
  1115: 1114, // timestamp
  1182: 1082, // date
  1183: 1083, // time
  1185: 1184, // timestamptz
  1187: 1186, // interval
  1231: 1700, // numeric
  199: 114, // json
  2951: 2950, // uuid
  3807: 3802 // jsonb
}

/** Teaches a driver instance the arrays that it would else have to ask the server for. */
export function addArrayTypes ({ options }: Sql): void {
  const { parsers, serializers } = options as unknown as {
    parsers: Record<number, (text: string) => unknown>
    serializers: Record<number, (value: unknown) => unknown>
  }
  for (const [array, element] of Object.entries(ARRAYS)) {
    parsers[Number(array)] = (text) => parseArray(text, parsers[element] ?? String)
    serializers[Number(array)] = writeArray
  }
}

/** A brace, a comma, a text in quotes, or one without: the last one is null where it says so. */
const TOKEN = /[{},]|"((?:[^"\\]|\\.)*)"|[^{},"]+/gs

function parseArray (text: string, parse: (text: string) => unknown): unknown[] {
  const root: unknown[] = []
  const open = [root]
  // Bounds that do not start at one come first: [0:1]={1,2}
  for (const [token, quoted] of text.slice(text.indexOf('{')).matchAll(TOKEN)) {
    const inner = open.at(-1)!
    if (token === '{') {
      const array: unknown[] = []
      inner.push(array)
      open.push(array)
    } else if (token === '}') open.pop()
    else if (quoted !== undefined) inner.push(parse(quoted.replace(/\\(.)/gs, '$1')))
    else if (token !== ',') inner.push(token === 'NULL' ? null : parse(token))
  }
  return root[0] as unknown[]
}

/** As PostgreSQL writes arrays; what is none stays as it is, such as one that was written before. */
export function writeArray (value: unknown): unknown {
  if (!Array.isArray(value)) return value
  return `{${value.map((each) => each === null ? 'null' : `"${String(each).replace(/["\\]/g, '\\$&')}"`).join(',')}}`
}
