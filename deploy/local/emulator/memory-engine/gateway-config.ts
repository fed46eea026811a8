import { z } from 'zod'
import { SPRITE_PATHS } from '../../../sprite/templates.ts'
import type { Disk } from './disk.ts'

/** Loose: keys that are not known here stay in the file when the gateway writes it. */
const configSchema = z.looseObject({
  channels: z
    .looseObject({
      convos: z
        .looseObject({
          env: z.string().optional(),
          poolApiKey: z.string().optional(),
          identityId: z.string().optional(),
          ownerConversationId: z.string().optional(),
        })
        .optional(),
    })
    .optional(),
  gateway: z
    .looseObject({
      mode: z.string().optional(),
      bind: z.string().optional(),
      auth: z.looseObject({ token: z.string().optional() }).optional(),
      reload: z.looseObject({ mode: z.string().optional() }).optional(),
    })
    .optional(),
})
export type GatewayConfig = z.infer<typeof configSchema>

/** `openclaw.json`, read afresh each time: a new key needs no restart. Null: away, or not JSON. */
export function readConfig(disk: Disk): GatewayConfig | null {
  try {
    return configSchema.parse(JSON.parse(disk.text(SPRITE_PATHS.openclawJson) ?? ''))
  } catch {
    return null
  }
}

export const readChannel = (disk: Disk) => readConfig(disk)?.channels?.convos ?? {}

/** False when the gateway must end: with reloading on it restarts itself over its own write, and dies of it. */
export function updateChannel(disk: Disk, change: Record<string, unknown>): boolean {
  const config = readConfig(disk) ?? {}
  config.channels = { ...config.channels, convos: { ...config.channels?.convos, ...change } }
  disk.write(SPRITE_PATHS.openclawJson, `${JSON.stringify(config, null, 2)}\n`, 0o600)
  return config.gateway?.reload?.mode === 'off'
}

/** The conversation that the config names, from which the gateway is restored after a restart. */
export function boundConversation(disk: Disk): { identityId: string; conversationId: string } | null {
  const { identityId, ownerConversationId } = readChannel(disk)
  return identityId && ownerConversationId ? { identityId, conversationId: ownerConversationId } : null
}
