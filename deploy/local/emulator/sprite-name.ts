/** The API takes up to 63 characters; it does not check that name and suffix together fit one DNS label. */
export const isSpriteName = (name: string): boolean => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)
