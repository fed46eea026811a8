import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { type FieldFault, Invalid } from '../../specs/errors.ts'
import { NotJson } from '../errors.ts'

/** Deeper than anything that is ours, far from what recursion bears. */
const MAX_DEPTH = 64

/**
 * Bodies are JSON whatever the header says: `curl -d` calls them a form, and earlier clients never had to care. Nothing is
 * lost by it, since no browser sends our key by itself. An empty body is none.
 */
export const bodyPlugin = fastifyPlugin(
  async (app) => {
    const utf8 = new TextDecoder('utf-8', { fatal: true })
    const parse = jsonParser(app)
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
      if (body.length === 0) return undefined
      let text: string
      try {
        text = utf8.decode(body)
      } catch {
        throw new NotJson('not UTF-8')
      }
      return text.trim() === '' ? undefined : parse(request, text)
    })
    app.addHook('preValidation', async ({ body, query }) => {
      refuseUnstorable('body', body)
      refuseUnstorable('query', query)
    })
  },
  { name: 'body' },
)

function jsonParser(app: FastifyInstance) {
  const parse = app.getDefaultJsonParser('error', 'error') // no __proto__, no constructor.prototype
  return (request: FastifyRequest, text: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      parse(request, text, (error, value) => (error ? reject(new NotJson(error.message)) : resolve(value)))
    })
}

/** @throws Invalid for text that Postgres cannot hold (NUL, half a surrogate pair), wherever it is, and for endless nesting. */
function refuseUnstorable(what: string, value: unknown): void {
  const faults: FieldFault[] = []
  walk(value, '', 0, faults)
  if (faults.length > 0) throw new Invalid(`the ${what} is not valid`, faults)
}

function walk(value: unknown, path: string, depth: number, faults: FieldFault[]): void {
  if (faults.length >= 20) return
  if (typeof value === 'string') {
    const fault = faultOf(value)
    if (fault) faults.push({ path, message: fault })
  } else if (typeof value === 'object' && value !== null) {
    if (depth >= MAX_DEPTH) {
      faults.push({ path: path.slice(0, 100), message: `nested deeper than ${MAX_DEPTH}` })
      return
    }
    for (const [key, inner] of Object.entries(value)) {
      const fault = faultOf(key)
      if (fault) faults.push({ path, message: `a field's name: ${fault}` })
      else walk(inner, path ? `${path}.${key}` : key, depth + 1, faults)
    }
  }
}

function faultOf(text: string): string | null {
  if (text.includes('\0')) return 'no NUL character'
  return text.isWellFormed() ? null : 'not valid Unicode: a lone surrogate'
}
