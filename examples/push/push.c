/* push USER TEXT: one push from C with libcurl and jansson.
 *     cc push.c -o push -lcurl -ljansson */
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static size_t drop(char *bytes, size_t size, size_t count, void *arg)
{
    (void)bytes, (void)arg;
    return size * count;
}

static CURL *prepare(struct curl_slist **headers, const char *body)
{
    static char url[512];
    static char key[512];
    snprintf(url, sizeof(url), "%s/v1/messages", getenv("TIDEGATE_API"));
    snprintf(key, sizeof(key), "Authorization: Bearer %s", getenv("TIDEGATE_API_KEY"));
    *headers = curl_slist_append(NULL, key);
    *headers = curl_slist_append(*headers, "Content-Type: application/json");
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    return curl;
}

/* 0 when the gateway has it. The id in the body makes a second try harmless: the message is
 * delivered once. */
static int push(const char *body)
{
    struct curl_slist *headers;
    CURL *curl = prepare(&headers, body);
    long status = 0;
    for (int left = 4;; left--) {
        curl_off_t seconds = 0;
        status = 0;
        curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
        if (left == 0 || (status != 0 && status != 429 && status != 503)) {
            break;
        }
        sleep(seconds > 0 ? (unsigned)seconds : 1);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status == 200 || status == 202 ? 0 : -1;
}

/* 128 random bits in hex: nobody else's id, also not that of another machine. */
static int draw_id(char id[33])
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        return -1;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char id[33];
    if (argc != 3) {
        fprintf(stderr, "push USER TEXT\n");
        return 2;
    }
    if (draw_id(id)) {
        return 1;
    }
    json_t *message = json_pack("{s:{s:[s]}, s:s, s:s, s:{s:s}}", "to", "users", argv[1], "type",
                                "note", "id", id, "data", "text", argv[2]);
    char *body = message ? json_dumps(message, JSON_COMPACT) : NULL;
    int err = body ? push(body) : -1;
    if (!err) {
        puts(id);
    }
    free(body);
    json_decref(message);
    return err ? 1 : 0;
}
