import { conformance } from './conformance.ts'
import { sdkConformance } from './sdk.ts'

conformance('process')
sdkConformance('process')
