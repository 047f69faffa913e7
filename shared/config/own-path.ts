/**
 * @file Which values of a config name a file of code of the user's own, in place of something that comes with cutlayer.
 */

/** `./my-strategy.js`: a path that ends as a JavaScript or TypeScript file does. */
export const OWN_MODULE = /^[^\0]*[^\0/\\]\.[cm]?[jt]s$/

export function isOwnModule(value: string | null): value is string {
  return value !== null && OWN_MODULE.test(value)
}
