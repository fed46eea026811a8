import type { SpritesClient, Timeouts } from './client.ts'
import { SpriteMissing } from './errors.ts'
import { type Call, type Http, segment } from './http.ts'
import { FilesWire } from './schemas.ts'

/** Paths are absolute, so the working directory that every call wants is the root. */
const ROOT = '/'

/** Files without a shell: contents go in the body, never in argv. */
export function fileCalls(
  http: Http,
  timeouts: Timeouts,
): Pick<SpritesClient, 'readFile' | 'writeFile' | 'listFiles' | 'removeFile' | 'renameFile'> {
  const call = (
    operation: string,
    name: string,
    method: Call['method'],
    route: string,
    signal: AbortSignal | undefined,
    query: Record<string, string> = {},
  ): Call => ({
    operation,
    subject: name,
    looksFor: 'path',
    method,
    path: `/v1/sprites/${segment(operation, name, name)}/fs/${route}`,
    query,
    timeoutMs: timeouts.fileMs,
    signal,
  })

  return {
    async readFile(name, path, signal) {
      return unlessAbsent(http.bytes(call('readFile', name, 'GET', 'read', signal, at(path))))
    },

    async writeFile(name, path, content, { mode }, signal) {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      // The flag that makes the parent folders has two names, by version: both are sent.
      const query = { ...at(path), mode, mkdirParents: 'true', mkdir: 'true' }
      await http.done({ ...call('writeFile', name, 'PUT', 'write', signal, query), bytes })
    },

    async listFiles(name, dir, signal) {
      return unlessAbsent(http.json(call('listFiles', name, 'GET', 'list', signal, at(dir)), FilesWire))
    },

    async removeFile(name, path, signal) {
      await unlessAbsent(http.done(call('removeFile', name, 'DELETE', 'delete', signal, at(path))))
    },

    async renameFile(name, from, to, signal) {
      const json = { source: from, dest: to, workingDir: ROOT }
      await http.done({ ...call('renameFile', name, 'POST', 'rename', signal), json })
    },
  }
}

function at(path: string): Record<string, string> {
  return { path, workingDir: ROOT }
}

/** null when the path is absent; a Sprite that is absent still throws. */
function unlessAbsent<T>(answer: Promise<T>): Promise<T | null> {
  return answer.catch((error: unknown) => {
    if (error instanceof SpriteMissing && error.what === 'path') return null
    throw error
  })
}
