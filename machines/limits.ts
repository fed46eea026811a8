/** How long each state may last, ms. Past it the instance gives up and is replaced; nothing waits for ever. */

/** A create call has 120 s, its answer may be lost once, and the name is looked at before each new try. */
export const CREATE_LIMIT_MS = 600_000
/** A real build takes four to five minutes; a slow mirror may double it twice. */
export const SETUP_LIMIT_MS = 1_200_000
/** Tries of the setup in one Sprite before the Sprite itself is suspected. */
export const SETUP_TRIES = 2
/** The setup beats each 10 s; silent for so long while its Sprite answers, it is dead. */
export const BEAT_LIMIT_MS = 90_000
export const CONFIGURE_LIMIT_MS = 300_000
/** First gateway starts of 30–60 s were seen, readiness windows of three minutes elsewhere. */
export const START_LIMIT_MS = 300_000
export const SEAL_LIMIT_MS = 300_000
export const CHECKPOINT_LIMIT_MS = 600_000
export const ARM_LIMIT_MS = START_LIMIT_MS
/** The disk of a fresh build, and of a restored one: a restored Sprite may take ten minutes to read its own files again. */
export const PROVE_BUILD_LIMIT_MS = 180_000
export const PROVE_RESTORE_LIMIT_MS = 600_000
/** Between two looks at the disk that must say the same. */
export const PROOF_GAP_MS = 2_000
export const MARK_LIMIT_MS = 180_000
/** A restore's stream has 120 s in all and 20 s of silence. */
export const RESTORE_LIMIT_MS = 150_000
/** A conversation takes 2–5 s; its request has 60 s. A join lasts up to 60 s by itself. */
export const CONVERSE_LIMIT_MS = 60_000
export const JOIN_LIMIT_MS = 90_000
/** First pause between two join requests; grows by itself. */
export const JOIN_RETRY_MS = 30_000
export const AWAIT_LIMIT_MS = 900_000
/** After a restart, until the ladder's next rung. */
export const REPAIR_GRACE_MS = 60_000
export const REPAIR_PAUSE_MAX_MS = 600_000

/** An idle one that is still ill then is restored, even where its gateway could not be restarted once. */
export const RECOVER_LIMIT_MS = 300_000

/** Between two definite not-founds that together make an absence. */
export const ABSENT_AFTER_MS = 30_000
/** The same for a claimed one: somebody's conversation is on that disk. */
export const ABSENT_CLAIMED_AFTER_MS = 300_000
/** For one whose create may still land: past that call's own time-out. */
export const ABSENT_UNSEEN_AFTER_MS = 125_000
/** After a delete of ours that the provider acknowledged. */
export const ABSENT_DELETED_AFTER_MS = 2_000

/** After the provider answered nobody, until a deadline acts again. */
export const EXCUSE_MS = 300_000
