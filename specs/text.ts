/**
 * At most `length` UTF-16 units of a text that may come from anywhere, fit for a row: no half of a surrogate pair, which
 * jsonb refuses, and no NUL, which Postgres cannot store.
 */
export function cut(text: string, length: number): string {
  return text.slice(0, length).toWellFormed().replaceAll('\0', '')
}
