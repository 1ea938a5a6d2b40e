/**
 * Metrics and the context of traces, by OpenTelemetry.
 *
 * @packageDocumentation
 */
import {
  context,
  metrics,
  propagation,
  type Attributes,
  type BatchObservableCallback,
  type MeterProvider,
  type ObservableCounter,
} from "@opentelemetry/api";
import type { Counters } from "./counters.js";
import { zeroCounters } from "./counters.js";
import { TwintierError } from "./errors.js";
import type { Hooks } from "./hooks.js";

const PREFIX = "twintier.client";

/** Description of each counter. */
const DESCRIPTIONS: Readonly<Record<keyof Counters, string>> = {
  hits: "Reads that returned a value, from memory or from the service.",
  nearHits: "Hits that the near cache answered.",
  negativeHits: "Reads that returned absent.",
  misses: "Reads that found nothing, unreadable values included.",
  stale: "Values returned past their end.",
  loads: "Runs of loaders that ended.",
  loadFailures: "Runs of loaders that failed.",
  refreshes: "Loads in the background, of entries that were due for refresh.",
  shared: "Callers that shared the call of another one in this process.",
  failures: "Calls of the service that failed.",
  breakerOpened: "Times that the breaker opened.",
  breakerSkipped: "Calls that the breaker kept from being made.",
  notStored: "Writes that were not stored: failed, refused or fenced.",
  unreadable: "Values that could not be decoded.",
  laterDropped: "Background writes that were dropped because the queue was full.",
};

/** Options of {@link openTelemetry}. */
export interface OpenTelemetryOptions {
  /** By default the global one. */
  readonly meterProvider?: MeterProvider;
  /** Attributes of every metric, such as the name of the cache. */
  readonly attributes?: Attributes;
}

/**
 * Returns hooks that export metrics, and that send the context of traces with each call.
 *
 * Names are `twintier.client.` and the name of the counter, such as `twintier.client.near_hits`.
 * `twintier.client.call.duration` and `twintier.client.load.duration` are histograms in seconds.
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Hooks {
  const provider = options.meterProvider ?? metrics.getMeterProvider();
  const meter = provider.getMeter("@twintier/client");
  const { attributes = {} } = options;
  const histogram = (name: string, description: string) =>
    meter.createHistogram(`${PREFIX}.${name}`, { unit: "s", description });
  const calls = histogram("call.duration", "Time of calls of the service.");
  const loads = histogram("load.duration", "Time of runs of loaders.");
  return {
    onCall({ method, duration, error }) {
      const more = { "rpc.method": method, ...errorAttributes(error) };
      calls.record(duration / 1_000, { ...attributes, ...more });
    },
    onLoad({ duration, background, error }) {
      const more = { background, ...errorAttributes(error) };
      loads.record(duration / 1_000, { ...attributes, ...more });
    },
    inject(set) {
      propagation.inject(context.active(), undefined, {
        set: (_carrier, name, value) => {
          set(name, value);
        },
      });
    },
    attach(counters) {
      const instruments = instrumentsOf((name, description) =>
        meter.createObservableCounter(`${PREFIX}.${name}`, { description }),
      );
      const observe: BatchObservableCallback = (result) => {
        for (const [name, value] of Object.entries(counters())) {
          const instrument = instruments.get(name);
          if (instrument !== undefined) {
            result.observe(instrument, value as number, attributes);
          }
        }
      };
      const observed = [...instruments.values()];
      meter.addBatchObservableCallback(observe, observed);
      return () => {
        meter.removeBatchObservableCallback(observe, observed);
      };
    },
  };
}

function instrumentsOf(
  create: (name: string, description: string) => ObservableCounter,
): Map<string, ObservableCounter> {
  const names = Object.keys(zeroCounters()) as (keyof Counters)[];
  return new Map(names.map((name) => [name, create(snakeCase(name), DESCRIPTIONS[name])]));
}

function errorAttributes(error: unknown): Attributes {
  if (error === undefined) {
    return {};
  }
  return { "error.type": error instanceof TwintierError ? error.kind : "_OTHER" };
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
