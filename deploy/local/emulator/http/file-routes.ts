import { posix } from 'node:path'
import { z } from 'zod'
import { Refusal } from '../engine.ts'
import { readBody, readJson, sendJson } from './answer.ts'
import type { Call, Route } from './router.ts'

/** Larger writes are refused. The real limit is unknown; nothing of a pool comes near. */
const WRITE_LIMIT_BYTES = 64 * 1_048_576
const base = '/v1/sprites/:name/fs'

const renameBody = z.object({ source: z.string(), dest: z.string(), workingDir: z.string().default('/') })
const copyBody = renameBody.extend({ recursive: z.boolean().nullish() })
const chmodBody = z.object({
  path: z.string(),
  workingDir: z.string().default('/'),
  mode: z.string(),
  recursive: z.boolean().nullish(),
})
const chownBody = z.object({ path: z.string(), workingDir: z.string().default('/') })

export const fileRoutes: Route[] = [
  {
    method: 'GET',
    operation: 'fs.read',
    asleep: 'waits',
    path: `${base}/read`,
    async handle({ response, params, query, engine, aftermath }) {
      if (aftermath.cannotRead(params.name ?? ''))
        throw new Refusal(500, { error: 'input/output error', code: 'EIO' })
      const bytes = await engine.files(params.name ?? '').read(pathOf(query))
      response
        .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
        .end(bytes)
    },
  },
  {
    method: 'PUT',
    operation: 'fs.write',
    asleep: 'waits',
    path: `${base}/write`,
    async handle({ input, response, params, query, engine }) {
      const files = engine.files(params.name ?? '')
      const path = pathOf(query)
      const mode = query.get('mode')
      const bytes = await readBody(input, WRITE_LIMIT_BYTES)
      const entry = await files.write(path, bytes, {
        mode: mode === null ? null : parseMode(mode),
        parents: query.get('mkdirParents') === 'true' || query.get('mkdir') === 'true', // both names are in use
      })
      sendJson(response, 200, { path: entry.path, size: entry.size, mode: entry.mode })
    },
  },
  {
    method: 'GET',
    operation: 'fs.list',
    asleep: 'waits',
    path: `${base}/list`,
    async handle({ response, params, query, engine }) {
      const path = pathOf(query)
      const options = { recursive: query.get('recursive') === 'true', pattern: query.get('pattern') }
      const entries = await engine.files(params.name ?? '').list(path, options)
      // An empty directory is null, not []: a Go slice that was never made.
      sendJson(response, 200, { path, entries: entries.length > 0 ? entries : null, count: entries.length })
    },
  },
  {
    method: 'DELETE',
    operation: 'fs.delete',
    asleep: 'waits',
    path: `${base}/delete`,
    async handle({ response, params, query, engine }) {
      const path = pathOf(query)
      await engine.files(params.name ?? '').remove(path, { recursive: query.get('recursive') === 'true' })
      sendJson(response, 200, { deleted: [path], count: 1 })
    },
  },
  {
    method: 'POST',
    operation: 'fs.rename',
    asleep: 'waits',
    path: `${base}/rename`,
    async handle(call) {
      const body = await readJson(call.input, renameBody)
      const [source, dest] = [absolute(body.workingDir, body.source), absolute(body.workingDir, body.dest)]
      await filesOf(call).rename(source, dest)
      sendJson(call.response, 200, { source, dest })
    },
  },
  {
    method: 'POST',
    operation: 'fs.copy',
    asleep: 'waits',
    path: `${base}/copy`,
    async handle(call) {
      const body = await readJson(call.input, copyBody)
      const [source, dest] = [absolute(body.workingDir, body.source), absolute(body.workingDir, body.dest)]
      const totalBytes = await filesOf(call).copy(source, dest, { recursive: body.recursive ?? false })
      sendJson(call.response, 200, { source, dest, copied: [dest], count: 1, totalBytes })
    },
  },
  {
    method: 'POST',
    operation: 'fs.chmod',
    asleep: 'waits',
    path: `${base}/chmod`,
    async handle(call) {
      const body = await readJson(call.input, chmodBody)
      const path = absolute(body.workingDir, body.path)
      const affected = await filesOf(call).chmod(path, parseMode(body.mode), {
        recursive: body.recursive ?? false,
      })
      sendJson(call.response, 200, { affected, count: affected.length })
    },
  },
  {
    method: 'POST',
    operation: 'fs.chown',
    asleep: 'waits',
    path: `${base}/chown`,
    /** All files belong to one user here, so nothing changes; only a path that is missing is refused. */
    async handle(call) {
      const body = await readJson(call.input, chownBody)
      const path = absolute(body.workingDir, body.path)
      await filesOf(call).list(path, { recursive: false, pattern: null })
      sendJson(call.response, 200, { affected: [path], count: 1 })
    },
  },
]

const filesOf = ({ engine, params }: Call) => engine.files(params.name ?? '')

function pathOf(query: URLSearchParams): string {
  const path = query.get('path')
  if (!path) throw new Refusal(400, { error: 'path is required' })
  return absolute(query.get('workingDir') || '/', path)
}

/** Also takes every `..` out: what is left cannot climb above the Sprite's root. */
function absolute(workingDir: string, path: string): string {
  if (path.includes('\0')) throw new Refusal(400, { error: 'invalid path', code: 'EINVAL' })
  return posix.resolve('/', workingDir, path)
}

function parseMode(text: string): number {
  if (!/^0?[0-7]{3,4}$/.test(text)) throw new Refusal(400, { error: 'invalid mode', code: 'EINVAL' })
  return Number.parseInt(text, 8)
}
