/** A look inside one instance for a person: what runs, what listens, what its gateway says. No secret in any of it. */
import { loadInstances } from '../../specs/db/instances.ts'
import type { Operation } from '../../specs/operation.ts'
import type { InstanceDeps } from '../instance/run.ts'
import { SERVICE } from '../instance/sprite-files.ts'

export type Inspect = (operation: Operation) => Promise<Record<string, unknown>>

/** ms. Each question by itself: a Sprite that answers one may hang on the next. */
const ASK_MS = 8_000
const LOG_LINES = 200

export function inspector(deps: InstanceDeps): Inspect {
  return async (operation) => {
    const id = operation.selector.instance ?? ''
    const [loaded] = await loadInstances(deps.sql, [id])
    if (!loaded) throw new Error(`instance ${id} is gone`)
    const { spriteName, spriteUrl } = loaded.instance
    if (operation.kind === 'logs') {
      const lines = Number(operation.arguments.lines ?? LOG_LINES)
      return { lines: (await deps.sprites.serviceLogs(spriteName, SERVICE, lines)).map(redact(loaded)) }
    }
    const ask = async <T>(what: () => Promise<T>): Promise<T | null> => what().catch(() => null)
    const run = async (...argv: string[]) => {
      const result = await ask(() => deps.sprites.exec(spriteName, argv, { timeoutMs: ASK_MS }))
      return result ? redact(loaded)(result.stdout) : null
    }
    const sprite = await ask(() => deps.sprites.get(spriteName))
    const gateway = spriteUrl
      ? await deps.gateway.status(spriteUrl, loaded.gatewayKey, { timeoutMs: ASK_MS })
      : null
    const files = await ask(() => deps.sprites.listFiles(spriteName, deps.files.paths.openclawDir))
    const logs = await ask(() => deps.sprites.serviceLogs(spriteName, SERVICE, 40))
    return {
      sprite: sprite ? { id: sprite.id, status: sprite.status } : null,
      url: spriteUrl,
      // The names of what runs, never the arguments: those may carry somebody's words.
      processes: await run('ps', '-eo', 'pid,etimes,comm'),
      listening: await run('sh', '-c', 'ss -ltn 2>/dev/null || netstat -ltn 2>/dev/null || true'),
      localCheck: gateway?.kind ?? null,
      envExists: files ? files.some(({ name }) => name === '.env') : null,
      apiStatus: gateway ? { up: 200, unauthorized: 401, down: 0 }[gateway.kind] : null,
      apiBody: gateway,
      logTail: (logs ?? []).map(redact(loaded)),
      probedAt: new Date(deps.clock.now()).toISOString(),
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
