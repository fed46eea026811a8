import type { z } from 'zod'

/** What goes into a Sprite and what comes back, handed in by the composition root. */
export interface SpriteFiles {
  paths: {
    readonly home: string
    readonly dir: string
    readonly setupScript: string
    readonly gatewayScript: string
    readonly joinsScript: string
    readonly setupEnv: string
    readonly setupStatus: string
    readonly setupLog: string
    readonly joinsStatus: string
    readonly stamp: string
    readonly canary: string
    readonly openclawDir: string
    readonly openclawJson: string
    readonly dotEnv: string
    readonly workspace: string
    readonly instructions: string
    readonly convos: string
  }
  readSpriteFile(name: 'setup.sh' | 'gateway.sh' | 'joins.sh'): string
  openclawJson(options: { xmtpEnv: 'dev' | 'production'; gatewayKey: string; gatewayToken: string }): string
  dotEnv(options: { anthropicApiKey: string | null }): string
  setupEnv(request: { attempt: string; repo: string; ref: string; commit: string | null }): string
  setupArgv: readonly string[]
  joinsArgv(request: {
    conversationId: string
    xmtpEnv: 'dev' | 'production'
    forSeconds: number
    intervalSeconds: number
  }): string[]
  setupStatusSchema: z.ZodType<SetupStatus>
  /** It ended since the repository has no such ref, or is not for us: no try can help. */
  isRefused(status: SetupStatus): boolean
  joinsStatusSchema: z.ZodType<JoinsStatus>
}

export interface SetupStatus {
  attempt: string
  beat: number
  phase: string
  percent: number
  commit: string | null
  exit: number | null
  error: string | null
  takes: string[]
}

export interface JoinsStatus {
  conversation: string
  processed: number
  approved: boolean
  beat: number
  done: boolean
}

export const SERVICE = 'gateway'
export const GATEWAY_PORT = 8080
