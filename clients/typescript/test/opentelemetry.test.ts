import { context, propagation, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { describe, expect, it } from "vitest";
import { openTelemetry } from "../src/opentelemetry.js";
import { testCache } from "./support/caches.js";
import { fakeService, hit } from "./support/fake-service.js";

describe("openTelemetry", () => {
  it("exports counters and durations", async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const meterProvider = new MeterProvider({ readers: [reader] });
    const hooks = openTelemetry({ meterProvider, attributes: { cache: "users" } });
    const cache = testCache({ hooks });
    await cache.get("k");
    await cache.getOrSet("k", () => 1);
    await cache.get("k");
    await meterProvider.forceFlush();
    const metrics = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .flatMap(({ metrics }) => metrics);
    const named = new Map(metrics.map((metric) => [metric.descriptor.name, metric.dataPoints]));
    expect(named.get("twintier.client.hits")).toMatchObject([
      { value: 1, attributes: { cache: "users" } },
    ]);
    expect(named.get("twintier.client.misses")).toMatchObject([{ value: 2 }]);
    expect(named.get("twintier.client.near_hits")).toMatchObject([{ value: 0 }]);
    const calls = named.get("twintier.client.call.duration") ?? [];
    expect(calls.map(({ attributes }) => attributes["rpc.method"]).sort()).toEqual(["Get", "Set"]);
    expect(named.get("twintier.client.load.duration")).toMatchObject([{ value: { count: 1 } }]);
    await meterProvider.shutdown();
  });

  it("sends the context of the trace", async () => {
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    const seen: unknown[] = [];
    const address = await fakeService({
      get: (_request, metadata) => {
        seen.push(...metadata.get("traceparent"));
        return hit(1);
      },
    });
    const { inject } = openTelemetry();
    const span = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
    const active = trace.setSpanContext(context.active(), { ...span, traceFlags: 1 });
    const hooks = {
      inject: (set: (name: string, value: string) => void) => {
        propagation.inject(active, undefined, { set: (_, name, value) => { set(name, value); } });
        inject?.(set);
      },
    };
    await testCache({ addresses: [address], hooks }).get("k");
    expect(seen).toEqual([`00-${span.traceId}-${span.spanId}-01`]);
    propagation.disable();
  });
});
