/** What a store can say. Named by what the caller can do about it; the API alone knows their status codes. */

/** No such thing: a later try with the same id says the same. */
export class NotFound extends Error {
  override readonly name = 'NotFound'
  constructor(kind: string, id: string) {
    super(`no ${kind} ${id}`)
  }
}

/** The thing is in a state that forbids it. `code` is stable; the message says what to do. */
export class Conflict extends Error {
  override readonly name = 'Conflict'
  readonly code: string
  readonly errors: readonly FieldFault[]
  constructor(code: string, message: string, errors: readonly FieldFault[] = []) {
    super(message)
    this.code = code
    this.errors = errors
  }
}

/** `If-Match` named another generation than the row's. */
export class PreconditionFailed extends Error {
  override readonly name = 'PreconditionFailed'
  constructor(wanted: number | string, actual: number) {
    super(`the spec is at generation ${actual}, not ${wanted}: read it again and repeat the edit on top`)
  }
}

export interface FieldFault {
  /** Dotted, as the caller wrote it: `limits.createConcurrency`. Empty: the body as a whole. */
  path: string
  message: string
}

/** Wrong fields, all of them at once. */
export class Invalid extends Error {
  override readonly name = 'Invalid'
  readonly errors: readonly FieldFault[]
  constructor(what: string, errors: readonly FieldFault[]) {
    super(
      `${what}: ${errors.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('; ')}`,
    )
    this.errors = errors
  }
}

/** zod's issues in the words of our errors. An unknown key is named by its own path. */
export function toFieldFaults(
  issues: readonly {
    code?: string | undefined
    path: readonly PropertyKey[]
    message: string
    keys?: readonly string[]
  }[],
): FieldFault[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map(String).join('.')
    if (issue.code === 'unrecognized_keys')
      return (issue.keys ?? []).map((key) => ({
        path: path ? `${path}.${key}` : key,
        message: 'unknown field',
      }))
    return [{ path, message: issue.message }]
  })
}
