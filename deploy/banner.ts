import type { Config } from './config.ts'
import type { Role, RunningPool } from './run.ts'

/** What a person sees first: what is embedded, where to look, how to claim. The key is shown only when it was made up here. */
export function banner(
  config: Config,
  role: Role,
  { url, world }: Pick<RunningPool, 'url' | 'world'>,
): string {
  const embedded = world.embedded.map((part) => `  embedded: ${part}`)
  if (role === 'controller')
    return [
      '',
      `  Claw Pool (${config.environment}), a controller: it stands by for the lease. Health and metrics at ${url}`,
      ...embedded,
      '',
      '',
    ].join('\n')
  const key = world.keyWasMade ? world.apiKey : null
  const shown = key ?? '$POOL_API_KEY'
  return [
    '',
    `  Claw Pool (${config.environment}) at ${url}`,
    ...embedded,
    '',
    key
      ? `  Dashboard, signed in:  ${url}/#key=${key}`
      : `  Dashboard:  ${url}/  (sign in with POOL_API_KEY)`,
    '  Claim an agent:',
    `    curl -s -X POST ${url}/api/pool/claim -H 'Authorization: Bearer ${shown}' -H 'Content-Type: application/json' \\`,
    `      -d '{"agentName": "Ada", "instructions": "You are a friendly helper."}'`,
    '  Ctrl-C ends everything; the pool is there again at the next start.',
    '',
    '',
  ].join('\n')
}
