/** Counters of a cache since it was created. */
export interface Counters {
  /** Reads that returned a value, from memory or from the service. */
  hits: number;
  /** Hits that the near cache answered. */
  nearHits: number;
  /** Reads that returned "absent". */
  negativeHits: number;
  /** Reads that found nothing, unreadable values included. */
  misses: number;
  /** Values returned past their end. */
  stale: number;
  /** Runs of loaders that ended. */
  loads: number;
  /** Runs of loaders that failed. */
  loadFailures: number;
  /** Loads in the background, of entries that were due for refresh. */
  refreshes: number;
  /** Callers that shared the call of another one in this process. */
  shared: number;
  /** Calls of the service that failed: unavailable, too late or refused. */
  failures: number;
  /** Times that the breaker opened. */
  breakerOpened: number;
  /** Calls that the breaker kept from being made. */
  breakerSkipped: number;
  /** Writes that were not stored: failed, refused or fenced. */
  notStored: number;
  /** Values that could not be decoded. */
  unreadable: number;
  /** Background writes that were dropped because the queue was full. */
  laterDropped: number;
}

/** Returns counters at zero. */
export function zeroCounters(): Counters {
  return {
    hits: 0,
    nearHits: 0,
    negativeHits: 0,
    misses: 0,
    stale: 0,
    loads: 0,
    loadFailures: 0,
    refreshes: 0,
    shared: 0,
    failures: 0,
    breakerOpened: 0,
    breakerSkipped: 0,
    notStored: 0,
    unreadable: 0,
    laterDropped: 0,
  };
}
