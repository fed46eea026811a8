/** A look inside one instance for a person: what runs, what listens, what its gateway says. No secret in any of it. */
import { loadInstances } from '../../specs/db/instances.ts'
import type { Operation } from '../../specs/operation.ts'
import type { InstanceDeps } from '../instance/run.ts'
import { SERVICE } from '../instance/sprite-files.ts'
import { within } from './within.ts'

/** Ends by its signal at the latest; a question without an answer is null in what it returns. */
export type Inspect = (operation: Operation, signal: AbortSignal) => Promise<Record<string, unknown>>

/** ms. Each question by itself: a Sprite that answers one may hang on the next, and one that sleeps wakes within 15 s. */
const ASK_MS = 20_000
const LOG_LINES = 200

export function inspector(deps: InstanceDeps): Inspect {
  const { sql, clock, sprites, gateway, files } = deps
  return async (operation, signal) => {
    const id = operation.selector.instance ?? ''
    const [loaded] = await loadInstances(sql, [id])
    if (!loaded) throw new Error(`instance ${id} is gone`)
    const { spriteName, spriteUrl } = loaded.instance
    if (operation.kind === 'logs') {
      const count = Number(operation.arguments.lines ?? LOG_LINES)
      const lines = await sprites.serviceLogs(spriteName, SERVICE, count, signal)
      return { lines: lines.map(redact(loaded)) }
    }
    const ask = <T>(what: string, call: (limit: AbortSignal) => Promise<T>): Promise<T | null> =>
      within(clock, what, ASK_MS, signal, call).catch(() => null)
    const run = async (...argv: string[]) => {
      const result = await ask('exec', (limit) =>
        sprites.exec(spriteName, argv, { timeoutMs: ASK_MS }, limit),
      )
      return result ? redact(loaded)(result.stdout) : null
    }
    const [sprite, state, listed, logs, processes, listening] = await Promise.all([
      ask('sprite', (limit) => sprites.get(spriteName, limit)),
      spriteUrl
        ? ask('status', (limit) => gateway.status(spriteUrl, loaded.gatewayKey, { timeoutMs: ASK_MS }, limit))
        : null,
      ask('files', (limit) => sprites.listFiles(spriteName, files.paths.openclawDir, limit)),
      ask('logs', (limit) => sprites.serviceLogs(spriteName, SERVICE, 40, limit)),
      // The names of what runs, never the arguments: those may carry somebody's words.
      run('ps', '-eo', 'pid,etimes,comm'),
      run('sh', '-c', 'ss -ltn 2>/dev/null || netstat -ltn 2>/dev/null || true'),
    ])
    return {
      sprite: sprite ? { id: sprite.id, status: sprite.status } : null,
      url: spriteUrl,
      processes,
      listening,
      localCheck: state?.kind ?? null,
      envExists: listed ? listed.some(({ name }) => name === '.env') : null,
      apiStatus: state ? { up: 200, unauthorized: 401, down: 0 }[state.kind] : null,
      apiBody: state,
      logTail: (logs ?? []).map(redact(loaded)),
      probedAt: new Date(clock.now()).toISOString(),
    }
  }
}

/** What opens this gateway, and what its user wrote, stay out of a log's copy. */
function redact({
  gatewayKey,
  gatewayToken,
  claim,
}: {
  gatewayKey: string | null
  gatewayToken: string | null
  claim: { instructions: string } | null
}) {
  const secrets = [gatewayKey, gatewayToken, claim?.instructions].filter(
    (secret): secret is string => typeof secret === 'string' && secret.length >= 8,
  )
  return (line: string): string =>
    secrets.reduce((text, secret) => text.split(secret).join('…'), line).replace(/sk-ant-[\w-]+/g, '…')
}
