package dev.twintier.spring;

import dev.twintier.client.TwintierClientBuilder;

/** Customizer of the client that the auto-configuration builds. */
@FunctionalInterface
public interface TwintierClientCustomizer {
    /**
     * Changes the builder.
     *
     * @param builder the builder, with all properties set
     */
    void customize(TwintierClientBuilder builder);
}
