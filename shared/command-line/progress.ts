/**
 * @file The text of a progress bar.
 */
const BAR_CELLS = 24

export interface ProgressState {
  readonly label: string
  readonly done: number
  readonly total: number
  readonly elapsedSeconds: number
  readonly details: string
  /** Columns of the terminal. */
  readonly columns: number
}

/** `round 2  [######------] 12/24  3.1/s  4 s left  loss 3.21`, cut to the terminal's width. The time left assumes the mean rate so far. */
export function progressLine({ label, done, total, elapsedSeconds, details, columns }: ProgressState): string {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0
  const full = Math.round(share * BAR_CELLS)
  const parts = [label, `[${'#'.repeat(full)}${'-'.repeat(BAR_CELLS - full)}]`, `${done}/${total}`]
  if (done > 0 && elapsedSeconds > 0) {
    const perSecond = done / elapsedSeconds
    parts.push(perSecond >= 1 ? `${perSecond.toFixed(1)}/s` : `${(1 / perSecond).toFixed(1)} s each`)
    if (done < total) parts.push(`${duration((total - done) / perSecond)} left`)
  }
  if (details !== '') parts.push(details)
  return parts.join('  ').slice(0, Math.max(0, columns - 1)) // the last column would wrap on some terminals
}

/** Seconds as a person says them: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds > 0 && seconds < 0.95) return `${Math.max(0.1, seconds).toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  const minutes = Math.round(whole / 60)
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
}

/** Bytes as a person says them, in powers of 1000: `512 B`, `1.2 kB`, `34.5 MB`. */
export function byteSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${units[power]}`
}
