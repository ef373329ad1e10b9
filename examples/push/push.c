/* push USER TEXT: one push from C with libcurl and jansson.
 *     cc push.c -o push -lcurl -ljansson */
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
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
    for (int left = 5; left > 0; left--) {
        curl_off_t seconds = 0;
        status = 0;
        curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
        if (status != 0 && status != 429 && status != 503) {
            break;
        }
        sleep(seconds > 0 ? (unsigned)seconds : 1);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status == 200 || status == 202 ? 0 : -1;
}

int main(int argc, char **argv)
{
    char id[64];
    if (argc != 3) {
        fprintf(stderr, "push USER TEXT\n");
        return 2;
    }
    snprintf(id, sizeof(id), "note-%lld-%d", (long long)time(NULL), (int)getpid());
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
