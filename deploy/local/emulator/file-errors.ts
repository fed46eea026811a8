import { Refusal } from './engine.ts'

/** The statuses of the file API's errors. */
const STATUS: Record<string, number> = {
  EEXIST: 409,
  ENOTDIR: 400,
  EISDIR: 400,
  EACCES: 403,
  EPERM: 403,
  ENOTEMPTY: 409,
  EINVAL: 400,
  ELOOP: 403,
  ENXIO: 400, // a pipe that nobody reads
}

export const hasStatus = (code: string): boolean => Object.hasOwn(STATUS, code)

export function fileError(code: string, error: string): Refusal {
  return new Refusal(STATUS[code] ?? 500, { error, code })
}

/** A missing path has no code: seen live, and clients that look for ENOENT trip over it. */
export const noSuchPath = () => new Refusal(404, { error: 'no such file or directory' })
