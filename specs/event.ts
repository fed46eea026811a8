/** One line of the audit. Never a secret, never instructions. */
export interface PoolEvent {
  /** `<xid>-<seq>`: order of commits, and what a reader resumes from. */
  id: string
  type: 'Normal' | 'Warning'
  reason: string
  message: string
  actor: string
  causeId: string | null
  claimId: string | null
  instanceId: string | null
  count: number
  firstAt: Date
  lastAt: Date
}
