import { z } from 'zod'

/*
 * The answers of the gateway, read leniently but for what we could not go on without. `ready` is true as soon as
 * the plugin is loaded; a page of an edge never has it.
 */

export const StatusWire = z.object({
  ready: z.literal(true),
  conversation: z.object({ id: z.string().min(1) }).nullable(),
  streaming: z
    .boolean()
    .nullish()
    .transform((streaming) => streaming ?? null),
})

export const ConversationWire = z.object({
  conversationId: z.string().min(1),
  inviteUrl: z.string().min(1),
  inviteSlug: z.string().min(1),
})

export const JoinWire = z.discriminatedUnion('status', [
  z.object({ status: z.literal('joined'), conversationId: z.string().min(1) }),
  z.object({ status: z.literal('waiting_for_acceptance') }),
])

export const SendWire = z.object({ success: z.literal(true), messageId: z.string().min(1) })
export const RenameWire = z.object({ ok: z.literal(true) })
export const LockWire = z.object({ ok: z.literal(true), locked: z.boolean() })
export const ExplodeWire = z.object({ ok: z.literal(true), exploded: z.literal(true) })
