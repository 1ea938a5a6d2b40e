/**
 * Client of twintier, a two-tier cache as a service. {@link dev.twintier.client.TwintierClient} is the entry.
 */
package dev.twintier.client;
