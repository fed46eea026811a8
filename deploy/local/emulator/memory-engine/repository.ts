import { createHash } from 'node:crypto'
import { z } from 'zod'

/** How one version of OpenClaw behaves: the words of the stand-in's `standin.json`. */
export const behaviourSchema = z.object({
  /** ms from the start of the gateway until it listens. */
  bootMs: z.int().nonnegative().default(0),
  failBuild: z.boolean().default(false),
  /** Lives, and never listens. */
  neverReady: z.boolean().default(false),
  /** Answers 500 to each claim, after it has written the instructions. */
  failClaims: z.boolean().default(false),
  /** Reads one more field of a claim's request: `tone`. */
  extraField: z.boolean().default(false),
  /** Fields of a claim's request that it reads, of those that a build looks for. */
  takes: z
    .array(z.string())
    .default(['instructions', 'profileName', 'description', 'imageUrl', 'permissions', 'profileImage']),
})
export type Behaviour = z.infer<typeof behaviourSchema>

/**
 * The modelled repository: whatever its address, it has the branches of OpenClaw's own, and a commit is nothing but
 * how the gateway built from it behaves. A commit pushed here is a new version.
 */
export interface Repository {
  /** Adds a commit to a branch, which is made when it is new; returns its 40 hex digits. */
  push(branch: string, behaviour?: z.input<typeof behaviourSchema>): string
  /** What a fetch finds: the commit, or what a branch stands at; null where neither is there. */
  resolve(ref: string): string | null
  behaviourOf(commit: string): Behaviour
}

export function createRepository(): Repository {
  const commits = new Map<string, Behaviour>()
  const branches = new Map<string, string>()
  const repository: Repository = {
    push(branch, wish = {}) {
      const behaviour = behaviourSchema.parse(wish)
      // Made from what came before, so the same history has the same commits on every machine.
      const history = `${branches.get(branch) ?? ''}\0${branch}\0${JSON.stringify(behaviour)}`
      const commit = createHash('sha1').update(history).digest('hex')
      commits.set(commit, behaviour)
      branches.set(branch, commit)
      return commit
    },
    resolve: (ref) => (commits.has(ref) ? ref : (branches.get(ref.replace(/^refs\/heads\//, '')) ?? null)),
    behaviourOf: (commit) => commits.get(commit) ?? behaviourSchema.parse({}),
  }
  for (const branch of ['staging', 'main']) repository.push(branch)
  return repository
}
