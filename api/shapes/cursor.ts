import type { z } from 'zod'
import { Invalid } from '../../specs/errors.ts'

/** Where a list goes on: opaque to the caller, and checked like everything that comes from outside. */
export function toCursor(position: unknown): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url')
}

/** undefined: from the start. @throws Invalid */
export function fromCursor<T>(schema: z.ZodType<T>, cursor: string | undefined): T | undefined {
  if (cursor === undefined) return undefined
  const parsed = schema.safeParse(decoded(cursor))
  if (parsed.success) return parsed.data
  throw new Invalid('the query is not valid', [
    { path: 'cursor', message: 'is none that this list gave: take nextCursor as it is' },
  ])
}

function decoded(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}

/** One page out of `limit + 1` rows that were read: the one too many says that there are more. */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  shape: (row: Row) => Item,
  position: (row: Row) => unknown,
): { items: Item[]; nextCursor: string | null } {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return {
    items: items.map(shape),
    nextCursor: rows.length > limit && last !== undefined ? toCursor(position(last)) : null,
  }
}
