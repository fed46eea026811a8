import type { PostgresType } from 'postgres'

/**
 * Values that the driver does not know by itself, or asks the server about on each new connection (arrays).
 * `int8` becomes a number: ids of ours are words, and counters stay below 2^53; one that does not is an error, not a guess.
 * Arrays have one dimension. One of booleans or dates as a parameter is `sql.array(values, OID.boolArray)`, since the
 * driver takes its type from the first element.
 */
export const OID = { boolArray: 1000, timestamptzArray: 1185 } as const

export const types: Record<string, PostgresType> = {
  int8: { to: 20, from: [20], serialize: String, parse: toSafeInteger },
  textArray: arrayOf([1009, 1015, 2951], String), // text, varchar, uuid
  int4Array: arrayOf([1007, 1005], Number),
  int8Array: arrayOf([1016], toSafeInteger),
  float8Array: arrayOf([1022], Number),
  boolArray: arrayOf([OID.boolArray], (text) => text === 't'),
  timestamptzArray: arrayOf([OID.timestamptzArray], (text) => new Date(text)),
  jsonbArray: arrayOf([3807], (text) => JSON.parse(text), JSON.stringify),
}

function toSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`int8 beyond 2^53: ${text}`)
  return value
}

function arrayOf(
  oids: number[],
  parse: (text: string) => unknown,
  write: (value: unknown) => string = word,
): PostgresType {
  return {
    to: oids[0] as number, // never called with an empty list
    from: oids,
    serialize: (values: unknown) =>
      Array.isArray(values)
        ? `{${values.map((value) => (value === null ? 'null' : quote(write(value)))).join(',')}}`
        : values,
    parse: (text: string) =>
      [...text.matchAll(/"((?:[^"\\]|\\.)*)"|([^,{}]+)/g)].map(([, quoted, bare]) => {
        if (quoted !== undefined) return parse(quoted.replace(/\\(.)/gs, '$1'))
        return bare === undefined || bare === 'NULL' ? null : parse(bare)
      }),
  }
}

function word(value: unknown): string {
  return value instanceof Date ? value.toISOString() : String(value)
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
