import { z } from 'zod'
import type { Checkpoint, FileEntry, Service, Sprite, SpriteEntry } from './client.ts'

/*
 * What comes over the wire, read leniently: runtimes of several versions answer inside one pool, so unknown keys
 * are dropped, unknown words become 'unknown', and an empty Go slice arrives as null. Only what we could not
 * go on without is required.
 */

const Status = z.enum(['cold', 'warm', 'running', 'unknown']).catch('unknown')
const UrlAuth = z.enum(['public', 'sprite', 'unknown']).catch('unknown')
const Labels = z
  .array(z.string())
  .nullish()
  .transform((labels) => labels ?? null)
const Text = z
  .string()
  .nullish()
  .transform((text) => text || null)

export const SpriteWire = z
  .object({
    id: z.string().min(1),
    name: z.string().min(1),
    url: z.string().min(1),
    url_settings: z.object({ auth: UrlAuth }).nullish(),
    status: Status,
    labels: Labels,
    created_at: Text,
  })
  .transform(({ id, name, url, url_settings, status, labels, created_at }): Sprite => {
    const urlAuth = url_settings?.auth ?? 'unknown'
    return { id, name, url, urlAuth, status, labels, createdAt: created_at }
  })

const EntryWire = z
  .object({ name: z.string().min(1), id: Text, status: Status, url: Text, labels: Labels })
  .transform((entry): SpriteEntry => entry)

export const PageWire = z
  .object({
    sprites: z.array(EntryWire).nullable(),
    has_more: z.boolean().nullish(),
    next_continuation_token: Text,
  })
  .transform(({ sprites, has_more, next_continuation_token }) => ({
    sprites: sprites ?? [],
    more: has_more ?? false,
    token: next_continuation_token,
  }))

const FileWire = z
  .object({
    name: z.string().min(1),
    path: z.string().nullish(),
    type: z.unknown().optional(),
    isDir: z.boolean().nullish(),
    size: z.number().nullish(),
    mode: z.string().nullish(),
  })
  .transform(
    ({ name, path, type, isDir, size, mode }): FileEntry => ({
      name,
      path: path ?? name,
      isDir: isDir ?? type === 'directory',
      size: size ?? 0,
      mode: mode ?? '',
    }),
  )

export const FilesWire = z
  .object({ entries: z.array(FileWire).nullable() })
  .transform(({ entries }) => entries ?? [])

/** Without the synthetic `Current` and the automatic ones: neither is ever restored. */
export const CheckpointsWire = z
  .array(
    z.object({
      id: z.string().min(1),
      create_time: z.string().nullish(),
      comment: Text,
      is_auto: z.boolean().nullish(),
    }),
  )
  .nullable()
  .transform((list): Checkpoint[] =>
    (list ?? [])
      .filter(({ id, is_auto }) => !is_auto && id.toLowerCase() !== 'current' && !id.startsWith('auto-'))
      .map(({ id, create_time, comment }) => ({ id, createdAt: create_time ?? '', comment })),
  )

const ServiceStatus = z
  .enum(['stopped', 'starting', 'running', 'stopping', 'failed', 'unknown'])
  .catch('unknown')

const ServiceWire = z
  .object({
    name: z.string().min(1),
    cmd: z.string().nullish(),
    args: z.array(z.string()).nullish(),
    http_port: z.number().nullish(),
    state: z.object({ status: ServiceStatus }).nullish(),
  })
  .transform(
    ({ name, cmd, args, http_port, state }): Service => ({
      name,
      cmd: cmd ?? '',
      args: args ?? [],
      httpPort: http_port || null,
      status: state?.status ?? 'unknown',
    }),
  )

/** A bare array, or wrapped: both were seen. */
export const ServicesWire = z
  .union([z.array(ServiceWire), z.object({ services: z.array(ServiceWire).nullable() }), z.null()])
  .transform((answer): Service[] => (Array.isArray(answer) ? answer : (answer?.services ?? [])))
