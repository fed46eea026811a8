import type { Sql } from './connect.ts'

/** 0: the token of one create is taken, send it. Else seconds until there is one. */
export async function takeCreateToken(sql: Sql, account: string, perMinute: number): Promise<number> {
  const [row] = await sql<{ wait: number }[]>`select take_create_token(${account}, ${perMinute}) as wait`
  return row?.wait ?? 0
}

/** The provider said 429: nobody of this account creates for so long. */
export async function blockCreates(sql: Sql, account: string, seconds: number): Promise<void> {
  await sql`select block_creates(${account}, ${seconds})`
}
