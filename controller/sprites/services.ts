import type { SpritesClient, Timeouts } from './client.ts'
import { SpriteMissing, SpritesRejected, SpritesUnavailable, SpritesUnsupported } from './errors.ts'
import { type Call, type Http, segment } from './http.ts'
import { ServicesWire } from './schemas.ts'

/**
 * How long the provider watches a service before it answers. Short: whether the service lives is asked of its
 * own port. Zero does not return at once.
 */
const WATCH = '1s'
/** How long a stop may take before the provider kills; its own default. */
const STOP = '10s'

export function serviceCalls(
  http: Http,
  timeouts: Timeouts,
): Pick<SpritesClient, 'listServices' | 'putService' | 'restartService' | 'removeService' | 'serviceLogs'> {
  const call = (
    operation: string,
    name: string,
    method: Call['method'],
    parts: readonly string[],
    signal: AbortSignal | undefined,
    query: Record<string, string> = {},
  ): Call => ({
    operation,
    subject: name,
    looksFor: parts.length ? 'service' : 'sprite',
    method,
    path: ['', 'v1', 'sprites', name, 'services', ...parts]
      .map((part, at) => (at ? segment(operation, name, part) : part))
      .join('/'),
    query,
    timeoutMs: timeouts.serviceMs,
    signal,
  })

  /** Reads the stream to its end, whatever the service itself prints. `complete` means that the watch ended,
   *  not that the service is healthy; only an `error` line says that the order was not carried out. */
  async function order(call: Call): Promise<void> {
    let failed = false
    await http.lines(call, timeouts.serviceMs, ({ type }) => {
      failed ||= type === 'error'
      return failed || type === 'complete' ? 'stop' : undefined
    })
    if (failed)
      throw new SpritesUnavailable(call.operation, call.subject, 200, {
        detail: 'the service manager reports an error',
      })
  }

  return {
    async listServices(name, signal) {
      const listing = { ...call('listServices', name, 'GET', [], signal), timeoutMs: timeouts.readMs }
      return http.json(listing, ServicesWire)
    },

    async putService(name, { name: service, cmd, httpPort }, signal) {
      const json = { cmd, args: [], env: {}, needs: [], http_port: httpPort } // `args` and `needs` must be arrays
      await order({ ...call('putService', name, 'PUT', [service], signal, { duration: WATCH }), json })
    },

    async restartService(name, service, signal) {
      const post = (verb: string, query: Record<string, string>) =>
        order(call('restartService', name, 'POST', [service, verb], signal, query))
      try {
        await post('restart', { duration: WATCH })
      } catch (error) {
        // Older runtimes lack the route, and some 404s cannot be told from a service that is not there: then
        // these two say so.
        const noRoute = error instanceof SpritesUnsupported
        const noService = error instanceof SpriteMissing && error.what === 'service'
        if (!noRoute && !noService) throw error
        await post('stop', { timeout: STOP }).catch((refusal: unknown) => {
          if (!(refusal instanceof SpritesRejected)) throw refusal // refused: it was not running
        })
        await post('start', { duration: WATCH })
      }
    },

    async removeService(name, service, signal) {
      try {
        await http.done(call('removeService', name, 'DELETE', [service], signal))
      } catch (error) {
        if (!(error instanceof SpriteMissing && error.what === 'service')) throw error
      }
    },

    async serviceLogs(name, service, lines, signal) {
      const query = { lines: String(lines), duration: WATCH }
      let text = ''
      await http.lines(
        { ...call('serviceLogs', name, 'GET', [service, 'logs'], signal, query), timeoutMs: timeouts.logsMs },
        timeouts.logsMs,
        ({ type, text: data }) => {
          if (type === 'stdout' || type === 'stderr') text += data.endsWith('\n') ? data : `${data}\n`
          return type === 'complete' ? 'stop' : undefined
        },
      )
      return lines > 0 ? text.split('\n').slice(0, -1).slice(-lines) : []
    },
  }
}
