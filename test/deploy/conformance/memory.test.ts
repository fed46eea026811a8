import { conformance } from './conformance.ts'
import { sdkConformance } from './sdk.ts'

conformance('memory')
sdkConformance('memory')
