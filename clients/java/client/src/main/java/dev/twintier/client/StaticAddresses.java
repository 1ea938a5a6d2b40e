package dev.twintier.client;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/** Name resolver of a list of addresses: {@code twintier-static:///host:port,host:port}. */
final class StaticAddresses extends NameResolverProvider {
    private static final String SCHEME = "twintier-static";

    static {
        NameResolverRegistry.getDefaultRegistry().register(new StaticAddresses());
    }

    static String target(List<String> addresses) {
        addresses.forEach(StaticAddresses::parse);
        return SCHEME + ":///" + String.join(",", addresses);
    }

    private static InetSocketAddress parse(String address) {
        try {
            URI uri = new URI("//" + address);
            if (uri.getHost() != null && uri.getPort() > 0) {
                return InetSocketAddress.createUnresolved(uri.getHost().replaceAll("[\\[\\]]", ""), uri.getPort());
            }
        } catch (java.net.URISyntaxException malformed) {
            throw new IllegalArgumentException("address: must be host:port, was " + address, malformed);
        }
        throw new IllegalArgumentException("address: must be host:port, was " + address);
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
        if (!SCHEME.equals(target.getScheme())) {
            return null;
        }
        return new Resolver(Stream.of(target.getPath().substring(1).split(",")).map(StaticAddresses::parse).toList());
    }

    @Override
    protected boolean isAvailable() {
        return true;
    }

    @Override
    protected int priority() {
        return 1;
    }

    @Override
    public String getDefaultScheme() {
        return SCHEME;
    }

    @Override
    public Collection<Class<? extends SocketAddress>> getProducedSocketAddressTypes() {
        return Set.of(InetSocketAddress.class);
    }

    private static final class Resolver extends NameResolver {
        private final List<InetSocketAddress> addresses;
        private Listener2 listener;

        Resolver(List<InetSocketAddress> addresses) {
            this.addresses = addresses;
        }

        @Override
        public String getServiceAuthority() {
            return addresses.get(0).getHostString();
        }

        @Override
        public void start(Listener2 resolutionListener) {
            listener = resolutionListener;
            refresh();
        }

        @Override
        public void refresh() {
            StatusOr<List<EquivalentAddressGroup>> groups;
            try {
                groups = StatusOr.fromValue(addresses.stream().map(Resolver::resolve).toList());
            } catch (IllegalArgumentException unknown) {
                groups = StatusOr.fromStatus(Status.UNAVAILABLE.withDescription(unknown.getMessage()));
            }
            listener.onResult2(ResolutionResult.newBuilder().setAddressesOrError(groups).build());
        }

        private static EquivalentAddressGroup resolve(InetSocketAddress address) {
            InetSocketAddress resolved = new InetSocketAddress(address.getHostString(), address.getPort());
            if (resolved.isUnresolved()) {
                throw new IllegalArgumentException("unknown host " + address.getHostString());
            }
            return new EquivalentAddressGroup(resolved);
        }

        @Override
        public void shutdown() {
            // There is nothing to end.
        }
    }
}
