/** Metrics and trace context by OpenTelemetry. */
package dev.twintier.client.opentelemetry;
