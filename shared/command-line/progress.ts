/**
 * @file The text of a progress bar.
 */
/** Of the bar; a narrow terminal gets fewer. */
const MOST_CELLS = 24
const FEWEST_CELLS = 8

export interface ProgressState {
  readonly label: string
  readonly done: number
  /** 0: not known. There is then no bar. */
  readonly total: number
  readonly elapsedSeconds: number
  /** What is counted, if it is bytes. */
  readonly unit?: 'bytes' | undefined
  readonly details: string
  /** Columns of the terminal. */
  readonly columns: number
}

/**
 * `round 2  [######------]  12/24  3.1/s  4 s left  loss 3.21`, for the terminal's width: the bar gives way first, then the rate and the time
 * left, which assumes the mean rate so far. Without a total: `opening the model  3 s`.
 */
export function progressLine(state: ProgressState): string {
  const { label, done, total, details, columns } = state
  const room = Math.max(0, columns - 1) // the last column would wrap on some terminals
  const line = (...parts: readonly string[]): string => [label, ...parts, details].filter((part) => part !== '').join('  ')
  const { rate, time } = rateAndTime(state)
  if (total <= 0) return line(done > 0 ? String(done) : '', rate, time).slice(0, room)
  const count = state.unit === 'bytes' ? `${byteSize(done)}/${byteSize(total)}` : `${done}/${total}`
  const share = Math.min(1, Math.max(0, done / total))
  const cells = Math.min(MOST_CELLS, room - line('[]', count, rate, time).length)
  const full = Math.round(share * cells)
  if (cells >= FEWEST_CELLS) return line(`[${'#'.repeat(full)}${'-'.repeat(cells - full)}]`, count, rate, time)
  const shorter = [line(count, rate, time), line(count, time), line(count)]
  return (shorter.find(({ length }) => length <= room) ?? line(count)).slice(0, room)
}

function rateAndTime({ done, total, elapsedSeconds, unit }: ProgressState): { readonly rate: string; readonly time: string } {
  if (done <= 0) return { rate: '', time: total > 0 || elapsedSeconds < 1 ? '' : duration(elapsedSeconds) }
  if (elapsedSeconds <= 0) return { rate: '', time: '' }
  const perSecond = done / elapsedSeconds
  return {
    rate:
      unit === 'bytes'
        ? `${byteSize(Math.round(perSecond))}/s`
        : perSecond >= 1
          ? `${perSecond.toFixed(1)}/s`
          : `${(1 / perSecond).toFixed(1)} s each`,
    time: done < total ? `${duration((total - done) / perSecond)} left` : '',
  }
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
