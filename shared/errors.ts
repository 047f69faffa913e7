/**
 * @file Errors that a person can put right, and the table of their codes.
 *
 * A broken invariant is a bug, not a `UserError`: use `unreachable`.
 */

/**
 * Every code and its three-digit exit code: 1xx server, 2xx strategy, 3xx client, 4xx model and data,
 * 5xx command line and config, 6xx network, 7xx simulation. A process exits with the first digit.
 */
export const ERROR_CODES = {
  ROUND_FAILED: 101,
  NOT_ENOUGH_CLIENTS: 102,
  CLIENT_LOST: 103,
  RUN_DIR_UNWRITABLE: 110,
  NO_REPLIES: 201,
  RANK_MISMATCH: 202,
  BAD_STRATEGY: 203,
  CLIENT_FAILED: 301,
  NO_TRAINING_ROWS: 302,
  CLIENT_STATE_MISSING: 303,
  MODEL_NOT_FOUND: 401,
  MODEL_CORRUPT: 402,
  MODEL_UNSUPPORTED: 403,
  TENSOR_MISSING: 404,
  TENSOR_SHAPE: 405,
  MODEL_DIGEST_DIFFERS: 406,
  TARGET_MATCHES_NOTHING: 407,
  CUT_OUT_OF_RANGE: 408,
  TOKENIZER_MISSING: 409,
  CACHE_UNWRITABLE: 410,
  MODEL_ACCESS_DENIED: 411,
  TOKENIZER_MISMATCH: 412,
  ADAPTER_NOT_FOUND: 420,
  ADAPTER_CORRUPT: 421,
  ADAPTER_UNSUPPORTED: 422,
  ADAPTER_MISMATCH: 423,
  DATA_NOT_FOUND: 440,
  DATA_ROW_INVALID: 441,
  DATA_EMPTY: 442,
  DATA_SET_FAILED: 443,
  DATA_DIFFERS: 444,
  BAD_ARGUMENT: 501,
  CONFIG_NOT_FOUND: 510,
  CONFIG_SYNTAX: 511,
  CONFIG_UNKNOWN_KEY: 512,
  CONFIG_VALUE: 513,
  CONFIG_NOT_BUILT: 514,
  RUN_NOT_FOUND: 520,
  OUTPUT_UNWRITABLE: 521,
  CHECKPOINT_CORRUPT: 522,
  CHECKPOINT_TOO_NEW: 523,
  RESUME_DIFFERS: 524,
  RUN_IN_USE: 525,
  RUN_FINISHED: 526,
  ENGINE_UNAVAILABLE: 530,
  PORT_IN_USE: 601,
  SERVER_UNREACHABLE: 602,
  TOKEN_REFUSED: 603,
  PROTOCOL_VERSION_DIFFERS: 604,
  MESSAGE_INVALID: 605,
  MESSAGE_TOO_LARGE: 606,
  CONNECTION_LOST: 607,
  CLIENT_ID_IN_USE: 608,
  TRANSFER_CORRUPT: 609,
  INSECURE_BIND: 610,
  RUN_FULL: 611,
  CERTIFICATE_REFUSED: 612,
  CERTIFICATE_UNUSABLE: 613,
  HUB_UNREACHABLE: 620,
  HUB_FAILED: 621,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

export interface ErrorReport {
  readonly code: ErrorCode
  /** What happened, in one clause. */
  readonly what: string
  /** Why it happened, naming the file, key or value. */
  readonly why: string
  /** What the person can do about it. */
  readonly fix: string
}

/** Something that a person can put right. Commands print `what`, `why` and `fix`, and exit with the code's first digit. */
export class UserError extends Error implements ErrorReport {
  readonly code: ErrorCode
  readonly what: string
  readonly why: string
  readonly fix: string

  constructor(report: ErrorReport, options?: ErrorOptions) {
    super(`${report.what}: ${report.why}`, options)
    this.name = 'UserError'
    this.code = report.code
    this.what = report.what
    this.why = report.why
    this.fix = report.fix
  }

  /** The three-digit code of the JSON envelope. */
  get exitCode(): number {
    return ERROR_CODES[this.code]
  }

  report(): ErrorReport {
    return { code: this.code, what: this.what, why: this.why, fix: this.fix }
  }
}

/** Marks a state that the types rule out or an invariant that broke: a bug in cutlayer. */
export function unreachable(message: string): never {
  throw new Error(`this is a bug in cutlayer: ${message}`)
}
