import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

/**
 * Liveness detection: a business system in Java's own library ({@code java Liveness.java}).
 *
 * <p>A page waits while somebody shows their face to a phone. Each step of it is a progress message to the page's
 * ticket, the result its final one. A ticket that ends before that is a time-out.
 *
 * <pre>
 * TIDEGATE_API      where to push, such as http://127.0.0.1:8081
 * TIDEGATE_API_KEY  a key of the scopes push and ticket
 * TIDEGATE_CLIENT   where browsers connect, such as http://127.0.0.1:8080
 * LISTEN            127.0.0.1:8092
 * SECONDS           how long a check may take (60)
 * SCENE             the folder with web/ (examples/liveness)
 * </pre>
 */
public class Liveness {
    private static final List<String> STEPS = List.of("face", "left", "right", "blink");
    private static final Pattern CASE = Pattern.compile("[0-9a-f-]{36}");

    private static final String API = env("TIDEGATE_API", null);
    private static final String KEY = env("TIDEGATE_API_KEY", null);
    private static final String CLIENT = env("TIDEGATE_CLIENT", null);
    private static final int SECONDS = Integer.parseInt(env("SECONDS", "60"));
    private static final Path HERE = Path.of(env("SCENE", "examples/liveness"));

    private static final Map<String, Path> FILES = Map.of(
            "/", HERE.resolve("web/index.html"),
            "/app.js", HERE.resolve("web/app.js"),
            "/phone", HERE.resolve("web/phone.html"),
            "/phone.js", HERE.resolve("web/phone.js"),
            "/style.css", HERE.resolve("../style.css"));

    /** A check that somebody has begun: the id of the ticket that its page waits with, and how far it is. */
    private static final class Check {
        final String ticket;
        final long endsAt = System.currentTimeMillis() + SECONDS * 1000L;
        int done;
        boolean isOver;

        Check(String ticket) {
            this.ticket = ticket;
        }
    }

    private final Map<String, Check> checks = new ConcurrentHashMap<>();
    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();

    private static String env(String name, String otherwise) {
        String value = System.getenv(name);
        if (value == null && otherwise == null) {
            throw new IllegalStateException(name + " is not set");
        }
        return value == null ? otherwise : value;
    }

    /** One HTTP call to tidegate. Anything but 2xx: nothing is known to be kept; the same call may be made again. */
    private String call(String path, String body) throws IOException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(API + path))
                .header("Authorization", "Bearer " + KEY)
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(5))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        try {
            HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() / 100 != 2) {
                throw new IOException("tidegate: " + answer.statusCode());
            }
            return answer.body();
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
    }

    /** The text under a key of the flat JSON that tidegate answers; its values have nothing to unescape. */
    private static String text(String json, String key) throws IOException {
        var found = Pattern.compile('"' + key + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json);
        if (!found.find()) {
            throw new IOException("no " + key);
        }
        return found.group(1);
    }

    // ---- what the page asks ----

    private String begin() throws IOException {
        String made = call("/v1/tickets", "{\"scene\":\"liveness\",\"ttl_ms\":" + SECONDS * 1000L + "}");
        String id = UUID.randomUUID().toString();
        checks.values().removeIf(check -> check.endsAt < System.currentTimeMillis());
        checks.put(id, new Check(text(made, "id")));
        return "{\"case\":\"" + id + "\",\"ticket\":\"" + text(made, "ticket") + "\",\"seconds\":" + SECONDS + "}";
    }

    // ---- what the camera says: a step was done, or the check failed ----

    private void step(String id, boolean isGood) throws IOException {
        Check check = checks.get(id);
        if (check == null || check.endsAt < System.currentTimeMillis()) {
            throw new IllegalArgumentException("it is over");
        }
        synchronized (check) {
            if (check.isOver) {
                return;
            }
            int done = isGood ? check.done + 1 : check.done;
            boolean isLast = !isGood || done == STEPS.size();
            push(check, id, done, isGood, isLast);
            check.done = done; // only now: a push that failed is made again, under the same id
            check.isOver = isLast;
        }
    }

    private void push(Check check, String id, int done, boolean isGood, boolean isLast) throws IOException {
        String data = isLast
                ? "{\"passed\":" + isGood + "}"
                : "{\"step\":\"" + STEPS.get(done - 1) + "\",\"done\":" + done + ",\"of\":" + STEPS.size() + "}";
        call("/v1/messages", "{\"to\":{\"tickets\":[\"" + check.ticket + "\"]},\"type\":\"liveness\",\"id\":\"" + id + "-"
                + (isLast ? "result" : done) + "\",\"final\":" + isLast + ",\"data\":" + data + "}");
    }

    // ---- HTTP ----

    private void handle(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        try (exchange) {
            if (exchange.getRequestMethod().equals("POST")) {
                post(exchange, path);
            } else if (path.equals("/settings")) {
                answer(exchange, 200, "application/json", "{\"gateway\":\"" + CLIENT + "\"}");
            } else {
                file(exchange, path);
            }
        } catch (IllegalArgumentException e) {
            answer(exchange, 410, "text/plain", e.getMessage());
        } catch (IOException | UncheckedIOException e) {
            answer(exchange, 503, "text/plain", "try again");
        }
    }

    /** A page of another site can't send this type without asking first (CORS), and isn't answered then. */
    private void post(HttpExchange exchange, String path) throws IOException {
        exchange.getRequestBody().readNBytes(1000);
        Map<String, String> query = query(exchange);
        String id = query.getOrDefault("case", "");
        if (!"application/json".equals(exchange.getRequestHeaders().getFirst("Content-Type"))) {
            answer(exchange, 403, "text/plain", "no JSON");
        } else if (path.equals("/cases")) {
            answer(exchange, 200, "application/json", begin());
        } else if (path.equals("/steps") && CASE.matcher(id).matches()) {
            step(id, !"no".equals(query.get("ok")));
            answer(exchange, 200, "application/json", "{}");
        } else {
            answer(exchange, 404, "text/plain", "nothing here");
        }
    }

    private static Map<String, String> query(HttpExchange exchange) {
        Map<String, String> values = new HashMap<>();
        String query = exchange.getRequestURI().getQuery();
        for (String pair : query == null ? new String[0] : query.split("&")) {
            String[] parts = pair.split("=", 2);
            values.put(parts[0], parts.length > 1 ? parts[1] : "");
        }
        return values;
    }

    private void file(HttpExchange exchange, String path) throws IOException {
        Path file = path.matches("/sdk/[a-z]+\\.js") ? HERE.resolve("../../sdk/js" + path.substring(4)) : FILES.get(path);
        if (file == null || !Files.exists(file)) {
            answer(exchange, 404, "text/plain", "nothing here");
            return;
        }
        String name = file.toString();
        String type = name.endsWith(".js") ? "text/javascript" : name.endsWith(".css") ? "text/css" : "text/html; charset=utf-8";
        answer(exchange, 200, type, Files.readString(file));
    }

    private void answer(HttpExchange exchange, int status, String type, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        var headers = exchange.getResponseHeaders();
        headers.set("Content-Type", type);
        headers.set("Cache-Control", "no-store");
        headers.set("X-Content-Type-Options", "nosniff");
        headers.set("Content-Security-Policy",
                "default-src 'self'; connect-src 'self' " + CLIENT + " " + CLIENT.replaceFirst("http", "ws"));
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
    }

    public static void main(String[] arguments) throws IOException {
        String[] listen = env("LISTEN", "127.0.0.1:8092").split(":");
        HttpServer server = HttpServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", new Liveness()::handle);
        server.start();
    }
}
