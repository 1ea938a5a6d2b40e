package dev.twintier.spring;

import dev.twintier.client.Session;
import dev.twintier.client.TwintierClient;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletOutputStream;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpServletResponseWrapper;
import java.io.IOException;
import java.io.PrintWriter;
import org.springframework.web.filter.OncePerRequestFilter;

/**
 * Filter that handles each HTTP request in a session: it reads the header {@code Twintier-Session}, and answers
 * with it. Caches of {@link TwintierCacheManager} use the session by themselves, other code by
 * {@link CurrentSession}. The header is set when the answer's body begins: later calls are not in it.
 */
public final class TwintierSessionFilter extends OncePerRequestFilter {
    /** Name of the header. */
    public static final String HEADER = "Twintier-Session";

    private final TwintierClient client;

    /**
     * Creates a filter.
     *
     * @param client the client
     */
    public TwintierSessionFilter(TwintierClient client) {
        this.client = client;
    }

    @Override
    protected void doFilterInternal(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws ServletException, IOException {
        Session session = open(request.getHeader(HEADER));
        WithSession answer = new WithSession(response, session);
        CurrentSession.Binding binding = CurrentSession.bind(session);
        try {
            chain.doFilter(request, answer);
        } finally {
            binding.close();
            answer.addHeader();
        }
    }

    /** Opens a session. A header that is none of ours begins a new one. */
    private Session open(String header) {
        try {
            return header == null ? client.session() : client.session(header);
        } catch (IllegalArgumentException malformed) {
            return client.session();
        }
    }

    /** Answer that gets the header before it is committed. */
    private static final class WithSession extends HttpServletResponseWrapper {
        private final Session session;

        WithSession(HttpServletResponse response, Session session) {
            super(response);
            this.session = session;
        }

        void addHeader() {
            String text = session.text();
            if (!text.isEmpty() && !isCommitted()) {
                setHeader(HEADER, text);
            }
        }

        @Override
        public ServletOutputStream getOutputStream() throws IOException {
            addHeader();
            return super.getOutputStream();
        }

        @Override
        public PrintWriter getWriter() throws IOException {
            addHeader();
            return super.getWriter();
        }

        @Override
        public void flushBuffer() throws IOException {
            addHeader();
            super.flushBuffer();
        }

        @Override
        public void sendError(int status) throws IOException {
            addHeader();
            super.sendError(status);
        }

        @Override
        public void sendError(int status, String message) throws IOException {
            addHeader();
            super.sendError(status, message);
        }

        @Override
        public void sendRedirect(String location) throws IOException {
            addHeader();
            super.sendRedirect(location);
        }
    }
}
