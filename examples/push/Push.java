import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.UUID;

/** {@code java Push.java USER TEXT}: one push from Java's own library. A JSON library of yours writes the body better. */
public class Push {
    private static final HttpClient HTTP = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();

    /** Returns when the gateway has it. The id makes a second try harmless: the message is delivered once. */
    static String push(String user, String data) throws IOException, InterruptedException {
        String id = UUID.randomUUID().toString();
        String body = "{\"to\":{\"users\":[" + quote(user) + "]},\"type\":\"note\",\"id\":" + quote(id) + ",\"data\":" + data + "}";
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("TIDEGATE_API") + "/v1/messages"))
                .header("Authorization", "Bearer " + System.getenv("TIDEGATE_API_KEY"))
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(10))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        for (int left = 4;; left--) {
            long seconds = 1;
            try {
                HttpResponse<String> answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
                int status = answer.statusCode();
                if (status / 100 == 2) {
                    return id;
                }
                if (left == 0 || (status != 429 && status != 503)) {
                    throw new IllegalStateException(status + ": " + answer.body());
                }
                seconds = answer.headers().firstValueAsLong("Retry-After").orElse(1);
            } catch (IOException e) {
                if (left == 0) {
                    throw e;
                }
            }
            Thread.sleep(seconds * 1000);
        }
    }

    private static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            out.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.append('"').toString();
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(push(arguments[0], "{\"text\":" + quote(arguments[1]) + "}"));
    }
}
