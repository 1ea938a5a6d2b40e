/** Spring's cache abstraction over twintier, with auto-configuration for Spring Boot. */
package dev.twintier.spring;
