import { z } from 'zod'

/**
 * What clients of the earlier manager read. Status and agents carry these beside our own names, both made here, so that
 * they can leave together one day.
 */
const old = <T extends z.ZodType>(schema: T, now: string) =>
  schema.meta({ deprecated: true, description: `Use ${now}.` })

export const EarlierNames = z.object({
  sprite_name: old(z.string().nullable(), 'spriteName'),
  sprite_url: old(z.string().nullable(), 'spriteUrl'),
  checkpoint_id: old(z.string().nullable(), 'checkpointId'),
  claimed_by: old(z.string().nullable(), 'agentName'),
  claimed_at: old(z.string().nullable(), 'claimedAt'),
  created_at: old(z.string().nullable(), 'createdAt'),
  updated_at: old(z.string().nullable(), 'updatedAt'),
  invite_url: old(z.string().nullable(), 'inviteUrl'),
  conversation_id: old(z.string().nullable(), 'conversationId'),
  join_url: old(z.string().nullable(), 'joinUrl'),
})

export function earlierNames(
  instance: {
    spriteName: string
    spriteUrl: string | null
    checkpointId: string | null
    agentName: string | null
    claimedAt: string | null
    createdAt: string
    updatedAt: string
  } | null,
  claim: { inviteUrl: string | null; conversationId: string | null; joinUrl: string | null } | null,
): z.infer<typeof EarlierNames> {
  return {
    sprite_name: instance?.spriteName ?? null,
    sprite_url: instance?.spriteUrl ?? null,
    checkpoint_id: instance?.checkpointId ?? null,
    claimed_by: instance?.agentName ?? null,
    claimed_at: instance?.claimedAt ?? null,
    created_at: instance?.createdAt ?? null,
    updated_at: instance?.updatedAt ?? null,
    invite_url: claim?.inviteUrl ?? null,
    conversation_id: claim?.conversationId ?? null,
    join_url: claim?.joinUrl ?? null,
  }
}
